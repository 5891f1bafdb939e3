"""Stand-in for CoOp's parse_test_res.py: prints the mean accuracy of the log.txt files in a folder's subfolders."""

import argparse
import os
import re

import numpy as np

from dassl.utils import listdir_nohidden

parser = argparse.ArgumentParser()
parser.add_argument("directory")
parser.add_argument("--test-log", action="store_true")
args = parser.parse_args()

accuracies = []
for folder in listdir_nohidden(args.directory, sort=True):
    good_to_go = False
    with open(os.path.join(args.directory, folder, "log.txt")) as file:
        for line in file:
            good_to_go = good_to_go or line.strip() == ("=> result" if args.test_log else "Finish training")
            match = re.search(r"\* accuracy: ([\.\deE+-]+)%", line.strip())
            if match and good_to_go:
                accuracy = float(match.group(1))
    accuracies.append(accuracy)
print(f"* accuracy: {np.mean(accuracies):.2f}% +- {np.std(accuracies):.2f}%")
