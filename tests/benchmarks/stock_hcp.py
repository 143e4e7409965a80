"""HCP-Diffusion 2.6 as it comes: `python -m hcpdiff.trainer_ac_single --cfg stock_hcp.py key=value ...`.

Only what it needs to run at all is added: its loss wrapped in `LossGroup`, `metrics=None`. It trains no embedding, for
that needs CUDA. Its noise schedule runs backwards and its timesteps are fractions; that costs no time and stays.
"""

# ruff: noqa: C408  rainbowneko reads calls of `dict` in a config
import torch
from hcpdiff.data import StableDiffusionHandler, Text2ImageSource, TextImagePairDataset, VaeCache
from hcpdiff.easy import SD15_auto_loader
from hcpdiff.loss import DiffusionLossContainer, MinSNRWeight
from hcpdiff.models import SD15Wrapper, TEHookCFG
from hcpdiff.models.lora_layers_patch import LoraLayer
from rainbowneko.ckpt_manager import NekoPluginSaver, SafeTensorFormat
from rainbowneko.data import RatioBucket
from rainbowneko.loggers import CLILogger
from rainbowneko.parser import CfgWDPluginParser, neko_cfg
from rainbowneko.train.loss import LossGroup
from rainbowneko.utils import ConstantLR


@neko_cfg
def make_cfg():
    return dict(
        exp_dir="run",
        mixed_precision="no",
        allow_tf32=False,
        seed=1,
        model_part=None,
        evaluator=None,
        model_plugin=CfgWDPluginParser(
            cfg_plugin=dict(
                lora_unet=LoraLayer.wrap_model(
                    _partial_=True, lr=1e-4, rank=8, alpha=8, layers=[r"re:denoiser.*\.attn.?$", r"re:denoiser.*\.ff$"]
                ),
                lora_te=LoraLayer.wrap_model(
                    _partial_=True, lr=1e-5, rank=8, alpha=8, layers=[r"re:TE.*self_attn$", r"re:TE.*mlp$"]
                ),
            ),
        ),
        emb_pt=None,
        ckpt_saver=dict(
            lora_unet=NekoPluginSaver(format=SafeTensorFormat(), target_plugin="lora_unet"),
            lora_te=NekoPluginSaver(format=SafeTensorFormat(), target_plugin="lora_te"),
        ),
        train=dict(
            train_steps=1000,
            train_epochs=None,
            save_step=1000000,
            gradient_accumulation_steps=1,
            workers=0,
            max_grad_norm=1.0,
            set_grads_to_none=True,
            retain_graph=False,
            resume=None,
            loss=LossGroup(loss=DiffusionLossContainer(MinSNRWeight(torch.nn.MSELoss(reduction="none"), gamma=5.0))),
            optimizer=torch.optim.AdamW(_partial_=True, betas=[0.9, 0.99], weight_decay=0.0),
            scale_lr=False,
            lr_scheduler=ConstantLR(_partial_=True, warmup_steps=0),
            wd_scheduler=None,
            metrics=None,
        ),
        logger=[CLILogger(_partial_=True, out_path="train.log", log_step=100)],
        model=dict(
            name="sd15",
            enable_xformers=False,
            gradient_checkpointing=False,
            force_cast_precision=False,
            ema=None,
            wrapper=SD15Wrapper.from_pretrained(
                _partial_=True,
                models=SD15_auto_loader(_partial_=True, ckpt_path="base"),
                TE_hook_cfg=TEHookCFG(clip_skip=0),
            ),
        ),
        data_train=cfg_data(),
    )


@neko_cfg
def cfg_data():
    return dict(
        pictures=TextImagePairDataset(
            _partial_=True,
            batch_size=1,
            loss_weight=1.0,
            source=dict(
                pictures=Text2ImageSource(img_root="pictures", label_file="pictures", prompt_template="template.txt"),
            ),
            handler=StableDiffusionHandler(bucket=RatioBucket),
            bucket=RatioBucket.from_files(target_area=16384, num_bucket=1),
            cache=VaeCache(bs=1),
        ),
    )
