"""The recipes. Figures of the sources are in docs/methods.md, with what is inferred."""

from typing import Any

from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation.methods._method import PLACEHOLDER, Method

_KL = "kl_teacher_student"


def _method(name: str, title: str, source: str, note: str, **sections: Any) -> Method:
    recipe = DistillationConfig.model_validate(
        {"method": name, "student": PLACEHOLDER.model_dump(), **sections}
    )
    return Method(name=name, title=title, source=source, recipe=recipe, space=name, note=note)


_CGDD_STUDENT = {
    "kd": {"weight": 1.0, "temperature": 4.0},
    "preset_label": {"weight": 0.5},
    "attention_transfer": {"weight": 1000.0},
}
_UNCONDITIONAL = {"conditioning": "none"}
_PEER_GENERATOR = {"conditioning": "none", "output_head": "sigmoid_normalise"}

CGDD = _method(
    "cgdd",
    "Conditional generative data-free distillation with attention transfer",
    "arXiv 2112.15358 v1",
    "Published: conditional generator guided by preset labels and the teacher, student "
    "trained by distillation, preset labels and attention transfer. All weights, the order of"
    " training and the conditioning are inferred from its lineage.",
    generator_objective={"preset_label": {"weight": 1.0}, "bn_statistics": {"weight": 1.0}},
    student_objective=_CGDD_STUDENT,
)

CGDD_V4 = _method(
    "cgdd_v4",
    "Conditional generative data-free distillation, adversarial form",
    "arXiv 2112.15358 v4",
    "Published: conditional generator with preset labels, an adversarial framework with "
    "several losses, knowledge from the teacher's feature maps. All weights and forms are "
    "inferred.",
    generator_objective={
        "preset_label": {"weight": 1.0},
        "bn_statistics": {"weight": 1.0},
        "adversarial": {"weight": 1.0},
    },
    student_objective=_CGDD_STUDENT,
)

DFKD_FGVC = _method(
    "dfkd_fgvc",
    "Data-free distillation for fine-grained recognition",
    "Shao et al., ICCV 2023, arXiv 2404.12037",
    "Published: the attention generator, both losses of the student, all weights, steps, "
    "optimisers and epochs. Inferred: reduction and softmax axis of the spatial attention, "
    "who trains the teacher-side attention, temperature and sizes of the contrast, 50 "
    "iterations per epoch, KL(T || S) at temperature 1.",
    generator={
        "architecture": "attention",
        "conditioning": "none",
        "output_head": "tanh",
        "latent_size": 256,
    },
    generator_objective={"bn_statistics": {"weight": 0.3}, "adversarial": {"weight": 1.0}},
    student_objective={
        "kd": {"weight": 1.0, "temperature": 1.0},
        "high_order_attention": {"weight": 10.0},
        "semantic_contrast": {"weight": 8.0},
    },
    generator_optimiser={"learning_rate": 1e-3, "beta1": 0.5, "beta2": 0.99},
    student_optimiser={"learning_rate": 1e-2},
    schedule={
        "epochs": 200,
        "iterations_per_epoch": 50,
        "generator_steps": 20,
        "student_steps": 15,
        "batch_size": 64,
    },
)

ZSKD = _method(
    "zskd",
    "Zero-shot knowledge distillation: data impressions",
    "Nayak et al., ICML 2019",
    "Published: Dirichlet targets from the similarity of the teacher's last weights, scales 1"
    " and 0.1, temperature 20, impressions optimised in the pixels for 1,500 steps at 0.01 in"
    " batches of 100, then a student trained on them with augmentation. Inferred: the "
    "student's optimiser and schedule, 40,000 impressions for every benchmark.",
    generator_objective={"preset_label": {"weight": 1.0, "temperature": 20.0}},
    student_objective={"kd": {"weight": 1.0, "temperature": 20.0}},
    generator_optimiser={"learning_rate": 0.01, "beta1": 0.9},
    student_optimiser={"kind": "adam", "learning_rate": 1e-3, "weight_decay": 0.0},
    synthesis={"kind": "rounds", "optimise": "pixels", "keep": "last", "batch_size": 100},
    image_bank={"size": 40000, "replay_share": 1.0, "augmentation": "crop_flip"},
    schedule={
        "mode": "two_stage",
        "generator_epochs": 20,
        "epochs": 200,
        "iterations_per_epoch": 20,
        "generator_steps": 1500,
        "student_steps": 20,
        "batch_size": 100,
        "label_sampling": "dirichlet",
    },
)

ZSKT = _method(
    "zskt",
    "Zero-shot knowledge transfer: adversarial belief matching",
    "Micaelli and Storkey, NeurIPS 2019",
    "Published: KL both ways of the game, attention transfer of 250 in the student, 1 and 10 "
    "steps on the same batch, both networks with Adam and cosine, gradients clipped at 5, "
    "batch 128, 80,000 iterations. Attention is the sum over stages of the mean squared "
    "difference.",
    generator={"conditioning": "none", "output_head": "tanh_bn", "latent_size": 100},
    generator_objective={"adversarial": {"weight": 1.0}},
    student_objective={
        "kd": {"weight": 1.0, "temperature": 1.0},
        "attention_transfer": {"weight": 250.0},
    },
    generator_optimiser={
        "learning_rate": 1e-3,
        "beta1": 0.9,
        "schedule": "cosine",
        "gradient_clip": 5.0,
    },
    student_optimiser={
        "kind": "adam",
        "learning_rate": 2e-3,
        "weight_decay": 0.0,
        "gradient_clip": 5.0,
    },
    schedule={
        "epochs": 200,
        "iterations_per_epoch": 400,
        "generator_steps": 1,
        "student_steps": 10,
        "batch_size": 128,
        "reuse_batch": True,
    },
)

DAFL = _method(
    "dafl",
    "Data-free learning of student networks",
    "Chen et al., ICCV 2019",
    "Published for CIFAR-10: pseudo labels 0.05, activation 0.01, balance 5 with the "
    "logarithm to base 10, noise of 1,000, batch 1,024, both networks once per iteration, "
    "2,000 epochs of 120, the student's rate a tenth after 40 and 80 %.",
    generator={**_UNCONDITIONAL, "latent_size": 1000},
    generator_objective={
        "pseudo_label": {"weight": 0.05},
        "activation": {"weight": 0.01},
        "information_entropy": {"weight": 5.0, "logarithm": "10"},
    },
    student_objective={"kd": {"weight": 1.0, "temperature": 1.0}},
    generator_optimiser={"learning_rate": 0.02, "beta1": 0.9},
    student_optimiser={"schedule": "step", "milestones": (0.4, 0.8)},
    schedule={
        "epochs": 2000,
        "iterations_per_epoch": 120,
        "generator_steps": 1,
        "student_steps": 1,
        "batch_size": 1024,
    },
)

DFAD = _method(
    "dfad",
    "Data-free adversarial distillation",
    "Fang et al., arXiv 1912.11006",
    "Published: L1 of the logits both ways, noise of 256, 1 and 5 steps, 500 epochs of 50, "
    "batch 256, the student's rate a tenth after epochs 100 and 200.",
    generator={**_UNCONDITIONAL, "latent_size": 256},
    generator_objective={"adversarial": {"weight": 1.0, "divergence": "l1"}},
    student_objective={"kd": {"weight": 1.0, "divergence": "l1"}},
    generator_optimiser={"learning_rate": 1e-3, "beta1": 0.9},
    student_optimiser={"schedule": "step", "milestones": (0.2, 0.4)},
    schedule={
        "epochs": 500,
        "iterations_per_epoch": 50,
        "generator_steps": 1,
        "student_steps": 5,
        "batch_size": 256,
    },
)

ADI = _method(
    "adi",
    "Adaptive DeepInversion",
    "Yin et al., CVPR 2020",
    "Published: pixels optimised for classes, BatchNorm statistics, smoothness and "
    "disagreement with the student (Jensen-Shannon), with random shifts and mirroring; "
    "weights and steps as in the tables that the two papers compare with (the CMI scripts): "
    "BatchNorm 10, label 1, competition 1 at temperature 3, smoothness 0.001, 1,000 steps at "
    "0.1, 400 student steps at temperature 20.",
    generator_objective={
        "preset_label": {"weight": 1.0},
        "bn_statistics": {"weight": 10.0},
        "adversarial": {"weight": 1.0, "divergence": "js", "temperature": 3.0},
        "total_variation": {"weight": 1e-3},
    },
    student_objective={"kd": {"weight": 1.0, "temperature": 20.0}},
    generator_optimiser={"learning_rate": 0.1, "beta1": 0.5, "beta2": 0.9},
    synthesis={"kind": "rounds", "optimise": "pixels", "jitter": 2, "flip": True},
    image_bank={"size": 51200, "replay_share": 1.0, "augmentation": "crop_flip"},
    student_optimiser={"weight_decay": 1e-4},
    schedule={
        "epochs": 200,
        "iterations_per_epoch": 1,
        "generator_steps": 1000,
        "student_steps": 400,
        "batch_size": 256,
        "student_mode_in_generator_step": "eval",
    },
)

_DFQ_SECTIONS: dict[str, Any] = {
    "generator": _PEER_GENERATOR,
    "generator_objective": {
        "pseudo_label": {"weight": 1.0, "form": "entropy"},
        "bn_statistics": {"weight": 1.0},
        "information_entropy": {"weight": 20.0},
        "adversarial": {"weight": 1.0},
    },
    "student_objective": {"kd": {"weight": 1.0, "temperature": 1.0}},
    "student_optimiser": {"weight_decay": 1e-4},
    "schedule": {
        "epochs": 200,
        "iterations_per_epoch": 40,
        "generator_steps": 1,
        "student_steps": 10,
        "batch_size": 256,
        "student_mode_in_generator_step": "eval",
    },
}

DFQ = _method(
    "dfq",
    "Data-free quantisation with adversarial distillation, as a distillation",
    "Choi et al., CVPR-W 2020",
    "Published: adversarial KL with BatchNorm statistics, certainty of each answer and "
    "balance of the batch; weights and steps as in the tables that the two papers compare "
    "with (the CMI scripts): 1, 1, 1, 20, 1 and 10 steps, batch 256. The certainty is the "
    "entropy of each answer, as in the paper.",
    **_DFQ_SECTIONS,
)


MAD = _method(
    "mad",
    "Momentum adversarial distillation",
    "Do et al., NeurIPS 2022",
    "Published: a moving average of the generator at 0.95, from which the student also "
    "learns. Inferred: the other terms and the steps are DFQ's, of which it is told as an "
    "addition; half of each batch is of the average.",
    **_DFQ_SECTIONS,
    generator_average={"momentum": 0.95, "share": 0.5},
)


CMI = _method(
    "cmi",
    "Contrastive model inversion",
    "Fang et al., IJCAI 2021",
    "Published, with its scripts: a new generator and noise in every round, optimised for 200"
    " steps at 0.001 with BatchNorm 1, label 1, restricted adversary 0.5 and contrast 0.8; "
    "all rounds are kept; 400 student steps at temperature 20, batch 256, 200 rounds.",
    generator=_PEER_GENERATOR,
    generator_objective={
        "preset_label": {"weight": 1.0},
        "bn_statistics": {"weight": 1.0},
        "adversarial": {"weight": 0.5, "agreement_only": True},
        "contrast": {"weight": 0.8},
    },
    student_objective={"kd": {"weight": 1.0, "temperature": 20.0}},
    synthesis={"kind": "rounds", "restart_every": 1, "latent_learning_rate": 1e-3},
    image_bank={"size": 51200, "replay_share": 1.0, "augmentation": "crop_flip"},
    student_optimiser={"weight_decay": 1e-4},
    schedule={
        "epochs": 200,
        "iterations_per_epoch": 1,
        "generator_steps": 200,
        "student_steps": 400,
        "batch_size": 256,
        "student_mode_in_generator_step": "eval",
    },
)

PRE_DFKD = _method(
    "pre_dfkd",
    "Data-free distillation with generative pseudo replay",
    "Binici et al., AAAI 2022",
    "Published, with its code: pseudo labels 1, balance 5, activation 0.1, disagreement by "
    "Jensen-Shannon, a memory that replays an eighth of a batch at a fortieth of the "
    "generator's rate of 0.02, L1 of the logits, 10 student steps, batch 1,024, noise of "
    "1,000, 400 epochs of 36. Inferred: the weight of the disagreement, 1, and the memory's "
    "networks.",
    generator={**_UNCONDITIONAL, "latent_size": 1000},
    generator_objective={
        "pseudo_label": {"weight": 1.0},
        "activation": {"weight": 0.1},
        "information_entropy": {"weight": 5.0, "logarithm": "10"},
        "adversarial": {"weight": 1.0, "divergence": "js"},
    },
    student_objective={"kd": {"weight": 1.0, "divergence": "l1"}},
    generator_optimiser={"learning_rate": 0.02, "beta1": 0.9},
    generative_replay={"share": 0.125, "divergence_weight": 1e-5},
    schedule={
        "epochs": 400,
        "iterations_per_epoch": 36,
        "generator_steps": 1,
        "student_steps": 10,
        "batch_size": 1024,
    },
)

FAST = _method(
    "fast",
    "Up to 100x faster data-free distillation",
    "Fang et al., AAAI 2022",
    "Published, with its scripts: rounds of 10 steps from a meta-learned generator, noise "
    "optimised too, BatchNorm 10 with a moving average of 0.9, label 0.4, restricted "
    "adversary 1.33, 20 rounds before the student begins, 400 student steps at 0.2 and "
    "temperature 20, batch 256.",
    generator=_PEER_GENERATOR,
    generator_objective={
        "preset_label": {"weight": 0.4},
        "bn_statistics": {"weight": 10.0, "momentum": 0.9},
        "adversarial": {"weight": 1.33, "agreement_only": True},
    },
    student_objective={"kd": {"weight": 1.0, "temperature": 20.0}},
    generator_optimiser={"learning_rate": 2e-3},
    student_optimiser={"learning_rate": 0.2, "weight_decay": 1e-4},
    synthesis={"kind": "rounds", "meta": "fomaml", "latent_learning_rate": 0.01},
    image_bank={"size": 51200, "replay_share": 1.0, "augmentation": "crop_flip"},
    schedule={
        "generator_epochs": 20,
        "epochs": 200,
        "iterations_per_epoch": 1,
        "generator_steps": 10,
        "student_steps": 400,
        "batch_size": 256,
        "student_mode_in_generator_step": "eval",
    },
)

NAYER = _method(
    "nayer",
    "Noisy layer data-free distillation",
    "Tran et al., CVPR 2024",
    "Published, with its scripts: fixed label embeddings through a noisy layer that is drawn "
    "anew in every round, a new generator every 10 epochs, 30 steps at 0.004, BatchNorm 10 "
    "with a moving average of 0.9, label 0.5, restricted adversary 1.33, 20 rounds before the"
    " student begins, 400 student steps at 0.2 and temperature 20. The embeddings of class "
    "names of its paper can be given as a file; orthogonal ones stand in for them.",
    generator={
        "conditioning": "noisy_layer",
        "output_head": "sigmoid_normalise",
        "latent_size": 256,
        "label_embedding_size": 512,
    },
    generator_objective={
        "preset_label": {"weight": 0.5},
        "bn_statistics": {"weight": 10.0, "momentum": 0.9},
        "adversarial": {"weight": 1.33, "agreement_only": True},
    },
    student_objective={"kd": {"weight": 1.0, "temperature": 20.0}},
    generator_optimiser={"learning_rate": 4e-3},
    student_optimiser={"learning_rate": 0.2, "weight_decay": 1e-4},
    synthesis={"kind": "rounds", "restart_every": 20, "batch_size": 400},
    image_bank={"size": 51200, "replay_share": 1.0, "augmentation": "crop_flip"},
    schedule={
        "generator_epochs": 20,
        "epochs": 200,
        "iterations_per_epoch": 2,
        "generator_steps": 30,
        "student_steps": 200,
        "batch_size": 512,
        "label_sampling": "balanced",
        "student_mode_in_generator_step": "eval",
    },
)
