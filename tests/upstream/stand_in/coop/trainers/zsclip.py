from dassl.engine import TRAINER_REGISTRY, TrainerX


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(TrainerX):
    """Only its name is needed."""
