"""How fast the safe modes are, beside what people write instead; no speed is told before the total is right.

python -m benchmarks                 # everything
python -m benchmarks redis fastapi   # two measures
python -m benchmarks --list          # what there is to measure
"""
