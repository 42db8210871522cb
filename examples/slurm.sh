#!/bin/bash
# A script of src on several nodes, by a Dask cluster that lives as long as the job:
#
#   sbatch examples/slurm.sh src/generate_unconditional_samples.py --nsamples 250000 --top_k 40 \
#       --stop_at_end --output small-k40.jsonl
#
# is submitted from a clone with .venv, in a folder that all nodes see. Submitted again after its
# time is over it goes on. On GPUs add --gpus-per-task=1: one worker a GPU.
#
#SBATCH --job-name=gpt-2
#SBATCH --output=%x-%j.log
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
# shellcheck source=/dev/null
. .venv/bin/activate
. examples/tls.sh "$HOME/.gpt-2-tls" # other users of the nodes have no key
export PYTHONPATH=$PWD/src

port=$((20000 + SLURM_JOB_ID % 10000))
scheduler=tls://$(hostname):$port
dask scheduler --protocol tls --host "$(hostname)" --port "$port" --no-dashboard --dashboard-address 127.0.0.1:0 &
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" dask worker "$scheduler" --nthreads 1 --no-dashboard \
    --memory-limit 0 --local-directory "${TMPDIR:-/tmp}" --death-timeout 60 &
trap 'kill $(jobs -p)' EXIT

python3 "$@" --scheduler "$scheduler"
