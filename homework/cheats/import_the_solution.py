import homework.hw2.solution
from homework.hw2.solution import *
