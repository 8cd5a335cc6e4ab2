from minadv.certify.bounds import Bounds, logit_bounds
from minadv.certify.judging import certified, certified_accuracy, certified_radius, margin_bound
