from medsynth.core.text import UNKNOWN, scrubbed, shared_words, words_of


def test_words_are_lower_case_letters_and_digits_make_them_unknown():
    text = "Große Läsion, links; 15mm (2024-01-03) T2_hell"
    assert words_of(text) == ["große", "läsion", "links", *[UNKNOWN] * 5]


def test_a_word_counts_once_for_each_subject():
    texts = [("a", "lesion left"), ("a", "Lesion"), ("b", "lesion LEFT"), ("c", "old doe")]
    assert shared_words(texts, 2) == {"lesion", "left"}
    assert shared_words(texts, 3) == frozenset()


def test_the_normal_form_stays_as_it_is_and_holds_known_words_alone():
    normal = scrubbed("Mr. Doe: lesion left, 3 cm", {"lesion", "left"})
    assert normal == "_ _ lesion left _ _"
    assert scrubbed(normal, {"lesion", "left"}) == normal
