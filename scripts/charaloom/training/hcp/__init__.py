"""HCP-Diffusion 2, mended: all that Charaloom adds to `hcpdiff` 2.6 on `rainbowneko` 1.10.0 or changes, and why.

`python -m charaloom.training.hcp --cfg config.py` trains in a process of its own, for rainbowneko keeps global state
and runs its config file. This package alone imports torch and hcpdiff at its top: only that process and its config use
it.

| what is mended | why (hcpdiff 2.6, rainbowneko 1.10.0) |
| --- | --- |
| noise | a scheduler drops the shifter it is given: noise falls where time rises |
| noise | timesteps are fractions that the base model never saw, and the schedule is not the base's own |
| noise | v-prediction: the target fails or weighs columns; the target `x0` is raised instead of returned |
| loss | v-prediction: min-SNR weights are 0.5 to 1.75 times the formula |
| captions | long captions lose the start and end tokens between chunks, average the pooled states, are cut in silence |
| data | masks of the loss cannot be read: an argument is given twice |
| text | embeddings are moved to `cuda` whatever the device, and start from a pickle of random numbers |
| text | embeddings of two text encoders (SDXL) cannot be read at all |
| text | transformers 5 refuses the call of SDXL's second text encoder |
| text | with a trained word, SDXL pools a token before the end of the text instead of the end |
| text | the vectors of a trained word push the end of a full chunk out, and its end token with it |
| text | embeddings are written as pickles |
| data | caption files are taken in the order of the folder, which differs between folders |
| data | dropping a caption leaves the words around it; shuffling moves the trigger away from the front |
| data | pictures come in the same order whatever the seed |
| data | a bucket of one picture is padded to a whole batch of it; few pictures fail in KMeans |
| data | a picture smaller than its bucket is enlarged |
| data | SDXL gets width and height of the scaled picture instead of height and width of the picture |
| data | latents cannot be kept over a restart, and each depends on all encoded before it |
| layers | the gradient of every whole weight is computed to get that of its two thin factors |
| data | the autoencoder stays in memory after it has encoded all latents |
| process | the frozen base is held in fp32 whatever the precision, text encoders that do not learn stay on the GPU |
| trainer | 16 bits round the noise, the target and the sizes that SDXL is told |
| trainer | cudnn.benchmark is switched on, no deterministic algorithms, random numbers depend on all before them |
| workers | threads share each small operation instead of the batch |
| trainer | milestones only at multiples of one number, the last one is written twice, NaN trains on |
| trainer | a resumed training has lost its moments and its place in the data, and ends in other bytes |
| process | the config is formatted three times, two seconds in all, before it is run |
| warm | each training imports and loads everything anew; peft imports bitsandbytes, which touches the GPU |
"""

MENDED = {"hcpdiff": "2.6", "rainbowneko": "1.10.0"}
