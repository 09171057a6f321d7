"""Reports: from a run folder to tables, figures and one HTML page; needs no Ray and no torch.

The way of the data: collect (files to frozen records) -> compute (pure numbers) -> figures ->
render (HTML) and tables (CSV, JSON).
"""

from reports.collect import RunData, TrialData, collect_run
from reports.compute.accuracy import Interval, relative_accuracy_interval
from reports.compute.baseline import BaselineComparison
from reports.compute.comparison import Spread, VariantRow
from reports.compute.leaderboard import LeaderboardRow
from reports.compute.reproduction import best_trial
from reports.compute.summary import Budgets, RunSummary
from reports.compute.trade_off import TradeOff, WeighedTrial
from reports.files import (
    ReportFiles,
    summarise,
    summarise_baseline,
    summarise_comparison,
    write_report,
)
from reports.model_card import CardFile, model_card
from reports.summary_file import summary_schema
from reports.tables import curves_table, trials_table
from reports.tensorboard import EventFiles, export_tensorboard

__all__ = [
    "BaselineComparison",
    "Budgets",
    "CardFile",
    "EventFiles",
    "Interval",
    "LeaderboardRow",
    "ReportFiles",
    "RunData",
    "RunSummary",
    "Spread",
    "TradeOff",
    "TrialData",
    "VariantRow",
    "WeighedTrial",
    "best_trial",
    "collect_run",
    "curves_table",
    "export_tensorboard",
    "model_card",
    "relative_accuracy_interval",
    "summarise",
    "summarise_baseline",
    "summarise_comparison",
    "summary_schema",
    "trials_table",
    "write_report",
]
