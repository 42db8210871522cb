"""What every script does around its own work: flags, streams, errors, exit status."""

import contextlib
import difflib
import errno
import inspect
import os
import re
import signal
import sys

import fire

from support.files import shown
from support.stopping import OutputLost, Stopped, stopping_now, watched_streams, what_is_kept

EXIT_OUTPUT_CLOSED = 1
EXIT_BAD_INPUT = 2
EXIT_SIGNAL = 128  # and the number of the signal, as shells report it


def run(function, argv=None):
    """Run `function` with the flags of the command line, and leave with the matching exit status.

    Flags are those of `function`'s signature, parsed by python-fire; a parameter annotated `str`
    keeps the text as it was typed ('1e5' stays text). A ValueError or OSError from `function`
    becomes one line on standard error and exit status 2. Ctrl-C, SIGTERM and SIGHUP end it where
    it is, or where that is safe, with status 128 + their number; a reader of its output that goes
    away, with status 1 (stopping.py, which also tells what is kept then).

    function: callable; its docstring is the help text that `-- --help` shows.
    argv: list of str, without the program's name; None means sys.argv.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    help_wanted = '--help' in argv or '-h' in argv
    use_utf8()
    with watched_streams(), stopping_now():
        try:
            if help_wanted:
                show_help(function)
            fire.Fire(function, command=check_flags(function, argv), name=program_name())
            sys.stdout.flush()
        except OutputLost as error:
            kept = what_is_kept(error)
            if error.errno != errno.EPIPE:
                fail('; '.join([str(error), *kept]))
            leave(EXIT_OUTPUT_CLOSED, [f'standard output was closed; {text}' for text in kept])
        except (ValueError, OSError) as error:
            fail(error)
        except MemoryError:
            fail('there is not enough memory for that')
        except KeyboardInterrupt as error:
            leave(EXIT_SIGNAL + signal.SIGINT, ['', *what_is_kept(error)])  # after the ^C
        except Stopped as error:
            leave(EXIT_SIGNAL + error.number, ['; '.join([str(error), *what_is_kept(error)])])


def show_help(function):
    """Print the flags of `function` and leave with status 0."""
    # Fire takes standard error for this, and runs the function first if there are other arguments.
    with contextlib.redirect_stderr(sys.stdout):
        fire.Fire(function, command=['--', '--help'], name=program_name())


def program_name():
    return os.path.basename(sys.argv[0])


def fail(error):
    """Print an error as one line on standard error and exit with status 2."""
    leave(EXIT_BAD_INPUT, ['error: ' + ' '.join(str(error).split())])


def leave(status, lines):
    """Print lines on standard error, as far as that is possible, and exit."""
    with contextlib.suppress(OSError):
        for line in lines:
            print(shown(line), file=sys.stderr)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.exit(status)


def use_utf8():
    """Read and write the standard streams as UTF-8 whatever the locale says."""
    for name in ('stdin', 'stdout', 'stderr'):
        if getattr(sys, name) is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, 'r' if name == 'stdin' else 'w'))
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):  # not so when a test has replaced the stream
            # A line may quote a file name that is not UTF-8, and must come through.
            errors = 'strict' if stream is sys.stdin else 'backslashreplace'
            stream.reconfigure(encoding='utf-8', errors=errors)


def check_flags(function, argv):
    """Refuse what `function` does not take, before it runs: fire itself says so only afterwards.

    Returns argv with the values of parameters annotated `str` quoted, so that fire, which reads
    values as Python literals, hands them over as they were typed. Raises ValueError naming the
    unknown flag and the nearest known one, the flag that lacks its text, or the surplus argument.
    """
    parameters = inspect.signature(function).parameters
    any_number = [p for p in parameters.values() if p.kind is p.VAR_POSITIONAL]
    parameters = {n: p for n, p in parameters.items() if p not in any_number}  # those with flags
    checked, arguments = [], split_arguments(argv, parameters)
    by_flag = {full_name(flag, parameters) for flag, _ in arguments if flag is not None}
    positional = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    positional = [p for p in positional if p.name not in by_flag]
    for flag, value in arguments:
        if flag is None:
            if not positional + any_number:
                raise ValueError(f'unexpected argument {value!r} (-- --help lists all flags)')
            parameter = positional.pop(0) if positional else any_number[0]
            # Fire would drop all that follows a bare -; quoted, as text is, it gets through.
            if value == '-' and parameter.annotation is not str:
                raise ValueError('unexpected argument - (-- --help lists all flags)')
            checked.append(quoted(value, parameter))
        elif full_name(flag, parameters) is None:
            near = difflib.get_close_matches(flag, parameters, n=1)
            hint = f'; did you mean --{near[0]}?' if near else ''
            raise ValueError(f'unknown flag --{flag}{hint} (-- --help lists all flags)')
        elif value is not None and full_name(flag, parameters) == flag[2:]:
            raise ValueError(f'--{flag} takes no value')
        elif value is not None:
            checked.append(f'--{flag}={quoted(value, parameters[full_name(flag, parameters)])}')
        elif parameters[full_name(flag, parameters)].annotation is str:
            raise ValueError(f'--{flag} needs a value (one that begins with -: --{flag}=-...)')
        else:  # spelled out, lest fire takes the next argument for its value
            name = full_name(flag, parameters)
            checked.append(f'--{name}={flag != "no" + name}')
    return checked


def split_arguments(argv, parameters):
    """Pair each flag with its value: [(flag, value or None)]; a value without a flag has None."""
    pairs, open_flag = [], False
    for argument in argv:
        if re.match(r'--|-[A-Za-z]', argument):
            flag, equals, value = argument.lstrip('-').partition('=')
            flag = flag.replace('-', '_')
            pairs.append((flag, value if equals else None))
            open_flag = not equals
        elif open_flag and (argument in ('True', 'False') or not is_switch(flag, parameters)):
            pairs[-1] = (flag, argument)
            open_flag = False
        else:
            pairs.append((None, argument))
            open_flag = False
    return pairs


def is_switch(flag, parameters):
    """Whether `flag` is on or off: then the argument after it is not its value, as fire thinks."""
    name = full_name(flag, parameters)
    return name is not None and isinstance(parameters[name].default, bool)


def full_name(flag, parameters):
    """The parameter that fire takes `flag` for, or None: --nofoo is foo=False, -f is foo."""
    if flag in parameters:
        return flag
    if flag.startswith('no') and flag[2:] in parameters:
        return flag[2:]
    starting = [name for name in parameters if len(flag) == 1 and name.startswith(flag)]
    return starting[0] if len(starting) == 1 else None


def quoted(value, parameter):
    return repr(value) if parameter.annotation is str else value
