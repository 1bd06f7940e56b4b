"""The paper's own figures, to stand beside ours: another model, another judge, another data split by chance of seeds.

Xu et al., ReLearn (arXiv 2502.11190 v3), table 1: Llama-2-7b-chat on KnowUnDo privacy.
"""

COLUMNS = ("rouge_f", "kfr", "ppl_f", "ls_f", "rouge_r", "krr", "ppl_r", "ls_r")
TABLE_1: dict[str, tuple[float, ...]] = {
    "vanilla": (0.98, 0.02, 8.60, 0.15, 0.99, 0.98, 7.46, 0.16),
    "GA + GDR": (0.02, 1.00, 1.33, 0.03, 0.10, 0.06, 27.61, 0.04),
    "GA + GDR + SURE": (0.02, 1.00, 1.86, 0.03, 0.14, 0.06, 8.94, 0.06),
    "GA + KLR": (0.02, 1.00, 43.71, 0.02, 0.26, 0.13, 24.20, 0.07),
    "GA + KLR + SURE": (0.01, 1.00, 1.27, 0.02, 0.00, 0.00, 1.28, 0.02),
    "NPO + GDR": (0.04, 0.99, 1.46, 0.03, 0.49, 0.45, 6.33, 0.10),
    "NPO + GDR + SURE": (0.04, 0.99, 9.61, 0.03, 0.31, 0.26, 22.78, 0.07),
    "NPO + KLR": (0.24, 0.82, 27.08, 0.09, 0.27, 0.35, 19.32, 0.11),
    "NPO + KLR + SURE": (0.02, 1.00, 1.30, 0.02, 0.12, 0.02, 3.29, 0.05),
    "ReLearn": (0.30, 0.88, 13.23, 0.13, 0.69, 0.74, 7.18, 0.17),
}
NOTE = (
    "Another model (Llama-2-7b-chat, fine-tuned by LoRA), entities and answers judged by large language models, "
    "sampled answers: not to be compared row by row with ours."
)
