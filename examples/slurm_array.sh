#!/bin/bash
# A script of src on several nodes, without an engine. In a folder that all nodes see:
#
#   command="src/generate_unconditional_samples.py --nsamples 250000 --output samples.jsonl"
#   python3 $command --parts samples.parts --workers 0     # writes what is to be made, and makes nothing
#   sbatch --wait examples/slurm_array.sh samples.parts    # makes it; again, it makes what is missing
#   python3 $command --parts samples.parts --workers 0     # joins the parts, if none is missing
#
#SBATCH --job-name=gpt-2-parts
#SBATCH --output=%x-%A_%a.log
#SBATCH --array=0-15
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
# shellcheck source=/dev/null
. .venv/bin/activate
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    python3 src/make_parts.py "$1" --part "$SLURM_ARRAY_TASK_ID" --of "$SLURM_ARRAY_TASK_COUNT"
