"""The contract of what a run folder holds: written by trials and sweeps, read by reports.

```
<run>/
  run.json                 RunRecord: what this folder is, and how far it is
  experiment.json          the experiment as resolved, every default filled in
  sessions.jsonl           SessionRecord, one line per start of the command
  lock                     held (flock) while a command works in this folder
  teacher/card.json        TeacherCard
  teacher/weights.safetensors
  audit/card.json          AuditCard, where the search objective is data_free
  audit/images.safetensors `images` (N, C, H, W), normalised, and `labels` (N,)
  trials/t0000/
    trial.json             TrialRecord: the configuration and where it came from
    metrics.jsonl          EpochRecord, one line per epoch; a repeated epoch replaces the older line
    status.json            StatusRecord: state, reason, error, restores
    checkpoints/epoch_000010/   the two newest complete states (see dfkd_tune.distillation)
    images/epoch_000010.png     a grid of synthetic images, one column per class
    student.safetensors    weights at the last epoch of a complete trial
    generator.safetensors
    kept_images.safetensors  `images` (N, C, H, W), normalised, float16: some of its own
    hang.txt               stacks of a process that its watchdog ended; else empty
    test.json              TestOutcome, of the trials of a comparison
  gpu_share.json           GpuShareRecord, where it was measured how many trials share a GPU
  pool.json                PoolRecord, after a search of three complete trials or more
  selection.json           SelectionRecord: the trial chosen on validation, its test numbers
  selected/images.json     SelectedImagesRecord: images and attention of the selected trial
  selected/*.png           the pictures that it names
  yardsticks.json          YardsticksRecord, where they were measured
  report/                  report.html, and its numbers in other forms; never read back
  ray/                     Ray's scratch; never read back
```

All files are plain JSON, JSON Lines, PNG or safetensors. A JSON file is replaced atomically, and a
JSON Lines file only grows, so that a reader never meets half a record but for the last line of a
JSONL, which it passes over. Readers ignore fields that they do not know.
Accuracies are fractions in [0, 1]; relative accuracies are percent; times are UTC in ISO 8601.
"""

from dfkd_tune.records._audit import AuditCard
from dfkd_tune.records._classes import ClassImages, ClassResults, Confusion
from dfkd_tune.records._epoch_table import EpochTable, epoch_table, read_epoch_table
from dfkd_tune.records._gpu_share import GpuShareRecord, StudentNeed, Throughput
from dfkd_tune.records._pareto import (
    COST_WORDS,
    CostName,
    ParetoPoint,
    ParetoSet,
    pareto_points,
    trial_cost,
)
from dfkd_tune.records._patience import patiently, storage_error
from dfkd_tune.records._pool import FEWEST_TRIALS, PoolRecord, synthetic_agreement
from dfkd_tune.records._population import ComparisonRecord, TakeOver
from dfkd_tune.records._reading import read_lines, read_record
from dfkd_tune.records._record import SCHEMA_VERSION, Record
from dfkd_tune.records._run import RunRecord, RunState, SessionRecord
from dfkd_tune.records._run_folder import RunFolder
from dfkd_tune.records._selected_images import (
    AttentionImage,
    AttentionRecord,
    ClosestPair,
    DuplicateMeasure,
    SelectedImagesRecord,
)
from dfkd_tune.records._selection import HeldOutAgreement, SelectionRecord, TestOutcome
from dfkd_tune.records._teacher import SplitScore, TeacherCard
from dfkd_tune.records._trial import (
    FINAL_STATES,
    LOST_STATES,
    EpochRecord,
    ErrorRecord,
    NetworkSize,
    Parent,
    RestoreRecord,
    Seconds,
    StatusRecord,
    TrialOrigin,
    TrialRecord,
    TrialState,
)
from dfkd_tune.records._trial_folder import TrialFolder
from dfkd_tune.records._writing import (
    append_record,
    copy_file_atomically,
    make_folder,
    now,
    write_bytes_atomically,
    write_json,
    write_parts_atomically,
    write_record,
)
from dfkd_tune.records._yardsticks import YardsticksRecord

__all__ = [
    "COST_WORDS",
    "FEWEST_TRIALS",
    "FINAL_STATES",
    "LOST_STATES",
    "SCHEMA_VERSION",
    "AttentionImage",
    "AttentionRecord",
    "AuditCard",
    "ClassImages",
    "ClassResults",
    "ClosestPair",
    "ComparisonRecord",
    "Confusion",
    "CostName",
    "DuplicateMeasure",
    "EpochRecord",
    "EpochTable",
    "ErrorRecord",
    "GpuShareRecord",
    "HeldOutAgreement",
    "NetworkSize",
    "Parent",
    "ParetoPoint",
    "ParetoSet",
    "PoolRecord",
    "Record",
    "RestoreRecord",
    "RunFolder",
    "RunRecord",
    "RunState",
    "Seconds",
    "SelectedImagesRecord",
    "SelectionRecord",
    "SessionRecord",
    "SplitScore",
    "StatusRecord",
    "StudentNeed",
    "TakeOver",
    "TeacherCard",
    "TestOutcome",
    "Throughput",
    "TrialFolder",
    "TrialOrigin",
    "TrialRecord",
    "TrialState",
    "YardsticksRecord",
    "append_record",
    "copy_file_atomically",
    "epoch_table",
    "make_folder",
    "now",
    "pareto_points",
    "patiently",
    "read_epoch_table",
    "read_lines",
    "read_record",
    "storage_error",
    "synthetic_agreement",
    "trial_cost",
    "write_bytes_atomically",
    "write_json",
    "write_parts_atomically",
    "write_record",
]
