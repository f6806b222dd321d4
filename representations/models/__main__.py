"""Survey the architectures: `python -m representations.models --survey`.

The survey reads, writes and steers, so it lives above this folder and is started by name.
"""

from runpy import run_module

if __name__ == "__main__":
    run_module("representations.survey", run_name="__main__")
