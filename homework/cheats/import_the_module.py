import minadv.attacks.fgsm

fgsm = minadv.attacks.fgsm.fgsm
