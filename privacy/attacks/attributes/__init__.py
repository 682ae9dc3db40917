"""Attribute disclosure: what the released scans and their table tell about members' attributes.

Singling out and inference after Giomi et al., "A Unified Framework for Quantifying Privacy Risk in
Synthetic Data", PoPETs 2023 (anonymeter); image to attribute, and the company of the vectors asked
for, as in privacy.md 5.6. Every rate against members is held against the same one for controls.
"""
