"""What only a lesson needs: explorers, quizzes, predictions, exercises, pictures and progress."""

# Several of these bear their module's name. They are imported here at once, after their modules, so that
# `from course_lib.classroom import progress` is always the object and never the module.
from . import blank_evidence, block_race, evidence, lesson_pictures, linear_races, planning, published
from .attention_explorer import AttentionExplorer
from .blank_explorer import BlankExplorer
from .cache_explorer import CacheExplorer
from .chunk_explorer import ChunkExplorer
from .course_map import course_map
from .exam import exam
from .exercises import check
from .explorer import MaskExplorer
from .flow_explorer import DataFlowExplorer
from .glossary import glossary
from .kv_explorer import KVExplorer
from .objective_table import objective_table
from .predict import predict
from .progress import progress
from .quiz import quiz
from .race_explorer import KernelRaceExplorer
from .score import score
from .shard_explorer import ShardExplorer
from .show import show, show_source
from .state_explorer import StateExplorer
from .training_panel import train_live
from .training_pictures import loss_curve

__all__ = [
    "AttentionExplorer",
    "BlankExplorer",
    "CacheExplorer",
    "ChunkExplorer",
    "DataFlowExplorer",
    "KVExplorer",
    "KernelRaceExplorer",
    "MaskExplorer",
    "ShardExplorer",
    "StateExplorer",
    "blank_evidence",
    "block_race",
    "check",
    "course_map",
    "evidence",
    "exam",
    "glossary",
    "lesson_pictures",
    "linear_races",
    "loss_curve",
    "objective_table",
    "planning",
    "predict",
    "progress",
    "published",
    "quiz",
    "score",
    "show",
    "show_source",
    "train_live",
]
