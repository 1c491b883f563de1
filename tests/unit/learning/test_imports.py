"""What importing the learner costs: whoever only queues runs must not pay for training or workflows."""

import subprocess
import sys


def test_importing_the_package_loads_neither_torch_nor_dbos_nor_a_trainer() -> None:
    code = (
        "import sys, ratchet_adapters.learning as learning; learning.check_options('sft-refusal', {});"
        "print([m for m in ('torch', 'transformers', 'trl', 'dbos', 'vllm', 'nemoguardrails') if m in sys.modules])"
    )
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
