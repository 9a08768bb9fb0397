"""Words that people bring from PyTorch, Keras, Lightning and scikit-learn, and what they are called here.

The one table for configs, overrides and the command line. A word leads only to what is allowed where it stands, so one
word may stand for several of ours; tests prove that whatever is led to exists.
"""

import re
from collections.abc import Collection, Iterable

# Our key, from the top of a config: what others call it.
PLACES = {
    "seed": "random_state random_seed manual_seed rng_seed",
    "device": "accelerator gpu gpus cuda devices use_gpu use_cuda",
    "data": "dataset datasets datamodule train_data training_data dataloader",
    "model": "network net architecture arch",
    "model.layers": "hidden_layers hidden_layer_sizes modules sequential",
    "model.load": "pretrained pretrained_weights weights_path load_weights init_from load_from load_state_dict",
    "model.trainable": "freeze frozen requires_grad unfreeze",
    "model.input": "input_shape input_size in_shape",
    "loss": "criterion loss_fn loss_function objective",
    "optimizer": "optim optimiser solver opt",
    "optimizer.lr": "learning_rate learning_rate_init eta0 base_lr initial_lr step_size",
    "schedule": "scheduler lr_scheduler lr_schedule learning_rate_schedule",
    "penalty": "regularizer regularization kernel_regularizer weight_regularizer",
    "penalty.l1": "l1_penalty l1_lambda lambda_l1 lasso",
    "penalty.l2": "weight_decay l2_penalty l2_lambda l2_regularization lambda_l2 ridge wd decoupled_weight_decay",
    "train": "trainer training fit",
    "train.epochs": "n_epochs num_epochs max_epochs nb_epoch max_iter n_iter",
    "train.max_steps": "max_iterations num_steps total_steps iterations num_iterations steps",
    "train.max_time": "max_minutes time_limit",
    "train.batch_size": "batch mini_batch_size minibatch_size train_batch_size bs",
    "train.accumulate": "accumulate_grad_batches gradient_accumulation_steps grad_accum accumulation_steps",
    "train.clip_norm": "clipnorm gradient_clip_val max_grad_norm grad_clip clip_grad clip_gradients clip_grad_norm",
    "train.early_stopping": "earlystopping early_stop early_stopper",
    "train.early_stopping.patience": "patience n_iter_no_change early_stopping_patience early_stopping_rounds",
    "train.early_stopping.min_delta": "tol tolerance early_stopping_min_delta",
    "metrics.best": "monitor scoring early_stopping_metric best_metric",
    "metrics.report": "metric",
    "data.validation": "validation_split val_split val_size validation_fraction val_fraction valid_size val_pct val",
    "data.test": "test_size test_split test_fraction",
    "data.class_weights": "class_weight pos_weight sample_weight",
    "data.augment": "transforms transform augmentation augmentations",
    "data.normalize": "normalise normalization standardize standardise scaler",
    "data.path": "data_path data_dir file filename csv_path train_path root folder",
    "data.target": "label target_column label_column y_column response",
    "data.ignore": "drop drop_columns exclude usecols",
    "data.stratified": "stratify",
    "logging.every": "log_every_n_steps log_interval logging_steps log_every print_every",
    "logging.tensorboard": "tensorboard_logger use_tensorboard",
    "checkpoint": "checkpointing enable_checkpointing model_checkpoint",
    "checkpoint.every_epochs": "save_every save_freq every_n_epochs save_interval",
    "checkpoint.keep": "save_top_k save_total_limit max_to_keep",
}  # fmt: skip

# Keys of components, which are led to only where they are allowed.
SETTINGS = {
    "units": "out_features neurons n_units num_units nodes width hidden_size features dim output_dim embedding_dim",
    "tokens": "num_embeddings vocab_size input_dim vocabulary",
    "heads": "num_heads n_heads nhead n_head",
    "return": "return_sequences",
    "channels": "filters out_channels num_filters n_filters features",
    "kernel": "kernel_size pool_size filter_size ksize",
    "stride": "strides",
    "dilation": "dilation_rate",
    "bias": "use_bias fit_intercept",
    "init": "kernel_initializer weight_init initializer weights_init kernel_init",
    "activation": "act nonlinearity activation_function act_fn",
    "rate": "p prob probability drop dropout_rate drop_prob",
    "slope": "negative_slope alpha",
    "epsilon": "eps",
    "decay": "rho alpha smoothing",
    "beta1": "beta_1 momentum",
    "beta2": "beta_2",
    "every": "step_size step period decay_steps",
    "factor": "gamma decay_rate decay",
    "lowest": "eta_min min_lr end_lr final_lr",
    "warmup": "warmup_steps warmup_epochs num_warmup_steps pct_start",
    "label_smoothing": "smoothing",
    "std": "stddev sigma",
    "degrees": "angle factor max_rotation",
    "padding": "pad",
}  # fmt: skip

# Our word, where a setting takes words or names of parts: what others call it, without case and signs between letters.
WORDS = {
    "cuda": "gpu nvidia cudnn",
    "dense": "linear fc fullyconnected affine lin",
    "conv": "conv1d conv2d conv3d convolution convolution2d convolutional",
    "max_pool": "maxpool1d maxpool2d maxpool3d maxpooling maxpooling1d maxpooling2d",
    "average_pool": "avgpool avgpool1d avgpool2d averagepooling averagepooling2d meanpool",
    "global_average_pool": "globalavgpool globalaveragepooling globalaveragepooling2d adaptiveavgpool2d gap",
    "global_max_pool": "globalmaxpooling globalmaxpooling2d adaptivemaxpool2d",
    "batch_norm": "batchnormalization batchnorm1d batchnorm2d batchnorm3d bn",
    "layer_norm": "layernormalization",
    "group_norm": "groupnormalization",
    "instance_norm": "instancenormalization instancenorm1d instancenorm2d instancenorm3d",
    "dropout": "dropout2d spatialdropout2d alphadropout",
    "flatten": "ravel",
    "embedding": "embed embeddings lookup",
    "rnn": "simplernn elman vanillarnn",
    "attention": "multiheadattention selfattention mha",
    "positional": "positionalencoding positionalembedding positionembedding",
    "reshape": "view unflatten",
    "depthwise_conv": "depthwise depthwiseconv2d depthwiseconv1d",
    "conv_transpose": "convtranspose1d convtranspose2d convtranspose3d conv1dtranspose conv2dtranspose conv3dtranspose "
    "deconv deconvolution transposedconv upconv",
    "upsample": "upsampling1d upsampling2d upsampling3d interpolate resize upsamplingnearest2d upsamplingbilinear2d",
    "pad": "zeropad1d zeropad2d zeropad3d zeropadding1d zeropadding2d zeropadding3d padding reflectionpad2d "
    "replicationpad2d",
    "bilinear": "linear trilinear",
    "replicate": "edge symmetric",
    "zero": "constant zeros",
    "hard_swish": "hardswish hsigmoid hswish",
    "silu": "swish",
    "relu": "rectifier rectified",
    "sigmoid": "logistic",
    "none": "linear identity null no false raw logits off",
    "cross_entropy": "crossentropyloss categoricalcrossentropy sparsecategoricalcrossentropy nll nllloss logloss ce "
    "softmaxcrossentropy negativeloglikelihood",
    "binary_cross_entropy": "bce bceloss bcewithlogits bcewithlogitsloss binarycrossentropy",
    "mse": "meansquarederror mseloss l2 l2loss squarederror rmse rootmeansquarederror",
    "mae": "meanabsoluteerror maeloss l1 l1loss absoluteerror neg_mean_absolute_error",
    "huber": "smoothl1 smoothl1loss huberloss",
    "hinge": "hingeloss svm squaredhinge multimarginloss",
    "momentum": "sgdmomentum sgdm",
    "step": "steplr multisteplr stepdecay piecewise",
    "exponential": "exponentiallr exponentialdecay",
    "cosine": "cosineannealing cosineannealinglr cosinedecay",
    "linear": "linearlr polynomial lineardecay",
    "reduce_on_plateau": "plateau reducelronplateau adaptive",
    "constant": "none null fixed constantlr",
    "he_normal": "kaimingnormal kaiming he",
    "he_uniform": "kaiminguniform",
    "glorot_uniform": "xavieruniform xavier glorot",
    "glorot_normal": "xaviernormal",
    "lecun_normal": "lecun",
    "zeros": "zero",
    "normal": "randomnormal",
    "truncated_normal": "truncnormal",
    "uniform": "randomuniform",
    "loss": "valloss validationloss testloss trainloss logloss mse",
    "accuracy": "acc valacc valaccuracy validationaccuracy categoricalaccuracy binaryaccuracy",
    "recall": "balancedaccuracy sensitivity uar tpr",
    "f1": "f1score macrof1 f1macro fscore",
    "auc": "rocauc auroc areaunderroc",
    "top_k": "top5 topkaccuracy top5accuracy",
    "calibration_error": "ece",
    "r2": "r2score rsquared",
    "channel": "true standard standardize zscore standardscaler batch yes minmax",
    "csv": "table tabular pandas dataframe tsv",
    "image_folder": "images imagefolderdataset folder directory imagesfromdirectory",
    "digits": "loaddigits",
    "cifar10": "cifar",
    "flip": "randomhorizontalflip horizontalflip hflip randomflip",
    "crop": "randomcrop",
    "rotation": "randomrotation rotate",
    "cutout": "coarsedropout",
    "random_erasing": "erasing",
    "colour_jitter": "colorjitter",
    "balanced": "auto true yes",
}  # fmt: skip

# What there is no key for, and why.
NOTES = {
    "betas": "write beta1 and beta2",
    "adam.momentum": "adam's is beta1; the optimizers momentum and nesterov have a key `momentum`",
    "adamw.momentum": "adam's is beta1; the optimizers momentum and nesterov have a key `momentum`",
    "sgd.momentum": "write optimizer: {type: momentum, momentum: 0.9}",
    "sgd.nesterov": "write optimizer: {type: nesterov, momentum: 0.9}",
    "momentum.nesterov": "write optimizer: {type: nesterov, momentum: 0.9}",
    "adam.weight_decay": "write penalty: {l2: …}, or optimizer: {type: adamw, weight_decay: …}",
    "T_max": "leave it out: the schedule ends with the training",
    "cosine.total_steps": "leave it out: the schedule ends with the training",
    "in_features": "leave it out: it follows from the layer before",
    "in_channels": "leave it out: it follows from the layer before",
    "input_dim": "leave it out: it follows from the layer before",
    "num_classes": "leave it out: it follows from the data; the last layer says how many it gives",
    "n_classes": "leave it out: it follows from the data; the last layer says how many it gives",
    "shuffle": "leave it out: training examples are shuffled in every epoch",
    "drop_last": "leave it out: the last batch of an epoch may be smaller",
    "deterministic": "leave it out: trainings repeat to the bit",
    "restore_best_weights": "leave it out: the best weights are kept, and `--checkpoint best` uses them",
    "save_best_only": "leave it out: the best weights are kept, and `--checkpoint best` uses them",
    "callbacks": "early stopping is train.early_stopping, checkpoints are checkpoint, rates are schedule",
    "num_workers": "leave it out: data are prepared beside the training; --threads sets the threads",
    "n_jobs": "use --threads on the command line",
    "pin_memory": "leave it out",
    "verbose": "use --quiet on the command line for less",
    "logger": "logs are always kept in the run; logging: {tensorboard: true} adds event files",
    "precision": "leave it out: trainings compute in float32",
    "amp": "leave it out: trainings compute in float32",
}  # fmt: skip

# Our command, or what to write instead: what others call it.
COMMANDS = {
    "fit": "train run start learn",
    "eval": "evaluate test score validation",
    "predict": "infer inference classify apply",
    "validate": "lint parse validate-config",
    "check": "doctor debug sanity",
    "inspect-params": "summary params parameters inspect info",
    "runs": "list ls history",
    "compare": "diff leaderboard",
    "visualize": "visualise features plot-features",
    "report": "plot show view",
    "lr-find": "lr_find lrfind find-lr lr-finder",
    "export-metrics": "metrics",
    "sweep": "tune search grid grid-search hpo",
    "fit --folds": "cv cross-validate crossval cross-val cross_validate",
    "fit --resume": "resume continue restart",
}  # fmt: skip

# Our option of the command line: what others call it, without the dashes.
OPTIONS = {
    "device": "gpu gpus cuda use-cuda",
    "runs-dir": "output output-dir out out-dir log-dir logdir save-dir default-root-dir save-path",
    "data-dir": "data-root data-folder dataroot",
    "threads": "workers num-workers n-jobs num-threads",
    "folds": "cv k-fold kfold n-splits k",
    "seeds": "repeats n-seeds repeat trials n-runs",
    "vary": "sweep grid param-grid tune",
    "resume": "continue resume-from resume-from-checkpoint restart",
    "smoke": "dry-run fast-dev-run",
    "quiet": "silent",
    "debug": "verbose traceback",
    "checkpoint": "weights ckpt ckpt-path",
    "split": "subset part",
    "json": "format output-format",
    "name": "run-name experiment exp-name experiment-name",
}  # fmt: skip


def _bare(word: str) -> str:
    """Without case and signs: `nn.CrossEntropyLoss` and `cross_entropy_loss` are one word."""
    word = re.sub(r"^((torch|nn|tf|keras|optim|lr_scheduler|layers|optimizers|losses)\.)+", "", word.strip())
    return re.sub(r"[^a-z0-9]", "", word.lower())


def _inverted(table: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for ours, theirs in table.items():
        for word in theirs.split():
            found.setdefault(_bare(word), []).append(ours)
    return found


_PLACES, _SETTINGS, _WORDS, _COMMANDS, _OPTIONS = map(_inverted, (PLACES, SETTINGS, WORDS, COMMANDS, OPTIONS))
_NOTES = {(kind, _bare(key)): note for (kind, _, key), note in ((k.rpartition("."), n) for k, n in NOTES.items())}


def our_key(word: str, kind: str, here: Collection[str]) -> str | None:
    """What to write instead of an unknown key, as the end of a message; None where the word is of nobody.

    kind: the type of the component it stands in, "" for none. here: the keys allowed there.
    """
    bare = _bare(word)
    if note := _NOTES.get((kind, bare)) or _NOTES.get(("", bare)):
        return note
    places = _PLACES.get(bare, [])
    named = [*_SETTINGS.get(bare, []), *(place.rpartition(".")[2] for place in places)]
    found = [*(ours for ours in named if ours in here), *places]
    return f"here it is `{found[0]}`" if found else None


def our_path(word: str) -> str | None:
    """The place in a config of a key of others, from the top: `train.epochs` of `max_epochs`."""
    return next(iter(_PLACES.get(_bare(word), [])), None)


def our_word(word: str, allowed: Iterable[str]) -> str | None:
    """Which of the allowed words is meant: the same but for case and signs, or what others call it."""
    known = list(allowed)
    bare = _bare(word.partition(":")[0])  # also of cuda:0
    meant = [ours for ours in known if _bare(ours) == bare] + [ours for ours in _WORDS.get(bare, []) if ours in known]
    return next((ours for ours in meant if ours != word), None)


def our_command(word: str) -> str | None:
    """`fit` of `train`."""
    return next(iter(_COMMANDS.get(_bare(word), [])), None)


def our_option(word: str, allowed: Collection[str]) -> str | None:
    """word: without its dashes, as are those allowed."""
    return next((ours for ours in _OPTIONS.get(_bare(word), []) if ours in allowed), None)
