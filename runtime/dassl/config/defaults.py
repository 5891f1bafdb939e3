"""All config keys except those of single trainers, with Dassl's defaults."""

from yacs.config import CfgNode as CN

cfg_default = CN()
cfg_default.VERSION = 1
cfg_default.OUTPUT_DIR = "./output"  # logs, checkpoints, tensorboard
cfg_default.RESUME = ""  # OUTPUT_DIR of the run to resume; "": this run's own
cfg_default.SEED = -1  # negative: no seed is set
cfg_default.USE_CUDA = True
cfg_default.VERBOSE = True

# Images
INPUT = cfg_default.INPUT = CN()
INPUT.SIZE = (224, 224)  # height, width
INPUT.INTERPOLATION = "bilinear"  # or bicubic, nearest
INPUT.RESIZE_MODE = "shortest"  # test images: resize the shorter side and crop the centre; squash: both sides
INPUT.EXIF_ORIENTATION = "ignore"  # or apply: turn images upright as their EXIF data say; own images: folder.yaml
INPUT.CROP_BORDER = 0  # pixels cut off at each edge of an image when it is read; 2 for ObjectNet: objectnet.yaml
INPUT.TRANSFORMS = ()  # names from dassl.data.transforms.AVAI_CHOICES; their order has no effect
INPUT.NO_TRANSFORM = False  # True: the loaders return PIL images
INPUT.PIXEL_MEAN = [0.485, 0.456, 0.406]  # of ImageNet
INPUT.PIXEL_STD = [0.229, 0.224, 0.225]
INPUT.CROP_PADDING = 4  # random_crop
INPUT.RRCROP_SCALE = (0.08, 1.0)  # random_resized_crop: smallest and largest fraction of the area
INPUT.CUTOUT_N = 1  # cutout: number of holes
INPUT.CUTOUT_LEN = 16  # cutout: side of a hole in pixels
INPUT.GN_MEAN = 0.0  # gaussian_noise
INPUT.GN_STD = 0.15
INPUT.RANDAUGMENT_N = 2  # operations per image
INPUT.RANDAUGMENT_M = 10  # magnitude, 0 to 30
INPUT.COLORJITTER_B = 0.4  # brightness
INPUT.COLORJITTER_C = 0.4  # contrast
INPUT.COLORJITTER_S = 0.4  # saturation
INPUT.COLORJITTER_H = 0.1  # hue
INPUT.RGS_P = 0.2  # randomgrayscale: probability
INPUT.GB_P = 0.5  # gaussian_blur: probability
INPUT.GB_K = 21  # gaussian_blur: kernel size, odd

# Data
DATASET = cfg_default.DATASET = CN()
DATASET.ROOT = ""  # folder that holds the datasets' folders
DATASET.NAME = ""
DATASET.SOURCE_DOMAINS = ()
DATASET.TARGET_DOMAINS = ()
DATASET.NUM_LABELED = -1
DATASET.NUM_SHOTS = -1  # training images per class; -1: all; train.py refuses 0 in training
DATASET.VAL_PERCENT = 0.1
DATASET.STL10_FOLD = -1
DATASET.CIFAR_C_TYPE = ""
DATASET.CIFAR_C_LEVEL = 1
DATASET.ALL_AS_UNLABELED = False

DATALOADER = cfg_default.DATALOADER = CN()
DATALOADER.NUM_WORKERS = 4  # worker processes; random augmentations depend on this number
DATALOADER.CACHE_GB = 4.0  # memory limit of the image cache; at most half of the free memory is used; 0: no cache
DATALOADER.K_TRANSFORMS = 1  # augmented views per training image
DATALOADER.RETURN_IMG0 = False  # True: also return the image without augmentation, as img0
DATALOADER.TRAIN_X = CN()
DATALOADER.TRAIN_X.SAMPLER = "RandomSampler"
DATALOADER.TRAIN_X.BATCH_SIZE = 32
DATALOADER.TRAIN_X.N_DOMAIN = 0  # domains per batch (RandomDomainSampler); 0 or less: all
DATALOADER.TRAIN_X.N_INS = 16  # images per class and batch (RandomClassSampler)
DATALOADER.TRAIN_U = CN()  # unlabelled training images
DATALOADER.TRAIN_U.SAME_AS_X = True  # True: use the four settings of TRAIN_X
DATALOADER.TRAIN_U.SAMPLER = "RandomSampler"
DATALOADER.TRAIN_U.BATCH_SIZE = 32
DATALOADER.TRAIN_U.N_DOMAIN = 0
DATALOADER.TRAIN_U.N_INS = 16
DATALOADER.TEST = CN()
DATALOADER.TEST.SAMPLER = "SequentialSampler"
DATALOADER.TEST.BATCH_SIZE = 32

# Model
MODEL = cfg_default.MODEL = CN()
MODEL.INIT_WEIGHTS = ""  # file with weights to initialize the model
MODEL.BACKBONE = CN()
MODEL.BACKBONE.NAME = ""
MODEL.BACKBONE.PRETRAINED = True
MODEL.HEAD = CN()
MODEL.HEAD.NAME = ""
MODEL.HEAD.HIDDEN_LAYERS = ()
MODEL.HEAD.ACTIVATION = "relu"
MODEL.HEAD.BN = True
MODEL.HEAD.DROPOUT = 0.0

# Optimiser and learning rate
OPTIM = cfg_default.OPTIM = CN()
OPTIM.NAME = "adam"  # or amsgrad, sgd, rmsprop, radam, adamw
OPTIM.LR = 0.0003
OPTIM.WEIGHT_DECAY = 5e-4
OPTIM.MOMENTUM = 0.9
OPTIM.SGD_DAMPNING = 0  # spelt as in Dassl
OPTIM.SGD_NESTEROV = False
OPTIM.RMSPROP_ALPHA = 0.99
OPTIM.ADAM_BETA1 = 0.9  # also for adamw, amsgrad and radam
OPTIM.ADAM_BETA2 = 0.999
OPTIM.STAGED_LR = False  # True: LR * BASE_LR_MULT for all children but NEW_LAYERS
OPTIM.NEW_LAYERS = ()
OPTIM.BASE_LR_MULT = 0.1
OPTIM.LR_SCHEDULER = "single_step"  # or multi_step, cosine
OPTIM.STEPSIZE = (-1,)  # single_step: epochs between decays, 0 or less: MAX_EPOCH; multi_step: epochs of the decays
OPTIM.GAMMA = 0.1
OPTIM.MAX_EPOCH = 10
OPTIM.WARMUP_EPOCH = -1  # number of warm-up epochs; 0 or less: no warm-up
OPTIM.WARMUP_TYPE = "linear"  # or constant
OPTIM.WARMUP_CONS_LR = 1e-5  # learning rate of the constant warm-up
OPTIM.WARMUP_MIN_LR = 1e-5  # learning rate of the first epoch of the linear warm-up
OPTIM.WARMUP_RECOUNT = True  # True: the schedule starts from epoch 0 after the warm-up

# Training and testing
TRAIN = cfg_default.TRAIN = CN()
TRAIN.CHECKPOINT_FREQ = 0  # epochs between checkpoints; 0: after the last epoch only; -10: ten checkpoints in all
TRAIN.PRINT_FREQ = 10  # batches between lines of progress
TRAIN.COUNT_ITER = "train_x"

TEST = cfg_default.TEST = CN()
TEST.EVALUATOR = "Classification"
TEST.PER_CLASS_RESULT = False
TEST.COMPUTE_CMAT = False  # write the confusion matrix to OUTPUT_DIR/cmat.pt
TEST.NO_TEST = False
TEST.SPLIT = "test"  # or val
TEST.FINAL_MODEL = "last_step"  # or best_val

TRAINER = cfg_default.TRAINER = CN()
TRAINER.NAME = ""
