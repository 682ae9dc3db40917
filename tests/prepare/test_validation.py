from medsynth.prepare.validation import inner_validation


def test_a_tenth_of_the_subjects_validates_in_whatever_order_they_come():
    subjects = [f"sub-{i}" for i in range(200)]
    chosen = inner_validation(subjects)
    assert len(chosen) == 20
    assert chosen == inner_validation(subjects[::-1] * 2)
