"""RAdam (https://arxiv.org/abs/1908.03265) as Dassl has it: with decoupled weight decay, as in AdamW."""

import torch


class RAdam(torch.optim.RAdam):
    """Torch's, with Dassl's arguments. While the variance is unreliable its steps are those of SGD with momentum."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, degenerated_to_sgd: bool = True):
        if not degenerated_to_sgd:
            raise ValueError("RAdam: degenerated_to_sgd must be True, got False; torch's makes no step otherwise")
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, decoupled_weight_decay=True)
