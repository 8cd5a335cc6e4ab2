from homework.hw2.solution import *
