from minadv import fgsm

logit_and_probability = strongest = margin_gradient = ball = fgsm_step = fgsm
