"""kohya's sd-scripts on the bench's model and modules: `python sd_scripts.py CHECKOUT CONFIG.json ARGUMENTS...`.

Its UNet has the sizes of SD 1.5 as constants: they are set to those of the base. It also trains the projections around
the transformer blocks, which the others do not: its list of modules is cut. Then its train_network.py runs as it is.
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    checkout, unet = Path(sys.argv[1]).resolve(), json.loads(Path(sys.argv[2]).read_text())
    sys.path[0] = str(checkout)
    shape_unet(unet)
    from networks.lora import LoRANetwork

    LoRANetwork.UNET_TARGET_REPLACE_MODULE = ["CrossAttention", "FeedForward"]
    sys.argv[:] = ["train_network.py", *sys.argv[3:]]
    runpy.run_path(str(checkout / "train_network.py"), run_name="__main__")


def shape_unet(config: dict[str, Any]) -> None:
    from library import original_unet

    channels = tuple(config["block_out_channels"])
    sizes = {
        "BLOCK_OUT_CHANNELS": channels,
        "TIMESTEP_INPUT_DIM": channels[0],
        "TIME_EMBED_DIM": channels[0] * 4,
        "LAYERS_PER_BLOCK": config["layers_per_block"],
        "LAYERS_PER_BLOCK_UP": config["layers_per_block"] + 1,
        "NORM_GROUPS": config["norm_num_groups"],
        "TRANSFORMER_NORM_NUM_GROUPS": config["norm_num_groups"],
        "DOWN_BLOCK_TYPES": config["down_block_types"],
        "UP_BLOCK_TYPES": config["up_block_types"],
    }
    for name, value in sizes.items():
        assert hasattr(original_unet, name), f"this checkout of sd-scripts has no {name}"
        setattr(original_unet, name, value)


if __name__ == "__main__":
    main()
