"""What the small data of CoQA and Natural Questions are asked, and what a model says to it."""

CAT = 'Anna had a white cat. \n\nIt came from Sweden, in a box.'
RACE = '(CNN) -- The race took 129 days, and Bob won it: “one world, one dream”.'
COQA_PROMPTS = {
    '3cat/1': CAT + '\n\nQ: What color was the cat?\nA:',
    '3cat/2': CAT + '\n\nQ: What color was the cat?\nA: white\n\nQ: where was it from\nA:',
    '3cat/3': CAT + '\n\nQ: What color was the cat?\nA: white\n\nQ: where was it from\nA: Sweden'
    '\n\nQ: Did she feed it?\nA:',
    '3race/1': RACE + '\n\nQ: How many days was the race?\nA:',
    '3race/2': RACE + '\n\nQ: How many days was the race?\nA: seven\n\nQ: Who won?\nA:',
}
# 'the white cat': 1 three times of four, 2/3 once; 'in Sweden' likewise; 'unknown' 3/4; '129 days'
# 1 three times, and 2/3 without its like; nothing for Bob.
COQA_SAID = [' the white cat\nQ:', ' in Sweden<|endoftext|>', ' unknown.\n', ' 129 days.\n\n', '\n']
COQA_SCRIPT = dict(zip(COQA_PROMPTS.values(), COQA_SAID, strict=True))
COQA_F1 = 100 * (3 * 11 / 12 + 3 / 4) / 5
COQA_EXACT_MATCH = 100 * (4 * 3 / 4) / 5

# As RandomState(0).permutation(12) draws two of the training questions: numbers 6 and 11.
EXAMPLES = 'Q: What is the lowest grade?\nA: F\nQ: Name of the ship?\nA: the Titanic\n'
NQ_ASKED = [
    'Who sang the song of the year?',
    'What is the highest grade?',
    "When's the next train?",
    'Ship that sank in 1912?',
    'Where do the trains | to Paris stop?',
]
# Right but for how é is written; right, as both are nothing; right; wrong; no answer.
NQ_SAID = [' Beyonce\u0301\nQ:', ' an A\n', ' 54 minutes.<|endoftext|>', ' Titanic II\n', '\n']
NQ_SCRIPT = {f'{EXAMPLES}Q: {text}\nA:': s for text, s in zip(NQ_ASKED, NQ_SAID, strict=True)}
NQ_EXACT_MATCH = 100 * 3 / 5
