"""HCP-Diffusion 2, mended: all that is added to or changed in `hcpdiff` 2.6 on `rainbowneko` 1.10.0, with the reasons.

`python -m charaloom.training.hcp --cfg config.py` trains in a process of its own, for rainbowneko keeps global state
and runs its config file. This package alone imports torch and hcpdiff at its top: only that process and its config use
it.

| what is mended | why (hcpdiff 2.6, rainbowneko 1.10.0) |
| --- | --- |
| noise | a scheduler given its shifter drops it: training ran with noise falling where time rises |
| noise | timesteps were fractions the base model never saw, and its schedule was not the base's own |
| text | embeddings are moved to `cuda` whatever the device, and start from a pickle of random numbers |
| text | embeddings of two text encoders (SDXL) cannot be read at all |
| text | SDXL's second text encoder is called in a way that transformers 5 refuses |
| text | with a trained word, what is pooled for SDXL is not the end of the text but a place before |
| text | embeddings are written as pickles |
| data | caption files are taken in the order of the folder, which differs between folders |
| data | dropping a caption leaves the words around it; shuffling moves the trigger away from the front |
| data | pictures come in the same order whatever the seed |
| data | a bucket of one picture is padded to a whole batch of it; few pictures fail in KMeans |
| data | SDXL is told width and height of the scaled picture where it wants height and width of the picture |
| data | latents cannot be kept over a restart, and each depends on all encoded before it |
| layers | the gradient of every whole weight is computed to get that of its two thin factors |
| trainer | cudnn.benchmark is switched on, no deterministic algorithms, draws depend on everything drawn before |
| crew | threads share each small operation instead of the batch |
| trainer | milestones only at multiples of one number, the last one is written twice, NaN trains on |
| trainer | a resumed training has lost its moments and its place in the data, and ends in other bytes |
| process | the config is laid out prettily three times, two seconds in all, before it is run |
| warm | each training imports and loads everything anew |
"""

MENDED = {"hcpdiff": "2.6", "rainbowneko": "1.10.0"}
