"""Controls: the same base trained without the subject, the retrained model that the law's reader has in mind.

``card`` knows which controls there are (without torch), ``train`` makes one, ``add`` takes in one made elsewhere.
"""
