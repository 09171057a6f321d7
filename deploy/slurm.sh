#!/bin/bash
# One sweep on SLURM:   sbatch deploy/slurm.sh EXPERIMENT.yaml STORAGE
# How to use it: docs/cluster.md.
#
# Not yet run under a real SLURM. Tests run it with a `srun` that only tells what it was given, and
# read that with Ray's own parser.
#
# Whole nodes only (`--exclusive`): at its end, `ray symmetric-run` stops every Ray on its nodes.
# A job that ends early is queued again, with the same command, and goes on.
#SBATCH --job-name=dfkd-tune
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=dfkd-tune-%j.log
# With GPUs:  #SBATCH --gpus-per-node=4
set -euo pipefail

if [ $# -ne 2 ]; then
  echo "usage: sbatch deploy/slurm.sh EXPERIMENT.yaml STORAGE, a folder that all nodes share" >&2
  exit 2
fi
experiment=$1
storage=$2

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes%%$'\n'*}
# A port of this job's own, as the head's node may have served another one a moment ago.
address=$head:$((20000 + SLURM_JOB_ID % 10000))

# Nobody else on the network may run code through this cluster.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN
# Slow file systems: Python alone may take a minute to start on a fresh node.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600
export PYTHONUNBUFFERED=1

exec srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --kill-on-bad-exit=1 \
  ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
  -- dfkd-tune sweep "$experiment" --storage "$storage" --address "$address"
