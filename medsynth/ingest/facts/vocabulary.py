"""Normal forms of raw values: closed vocabularies and numbers, so that free text never survives.

A form gets a raw text and returns the one spelling that the schema parses, or raises ValueError,
which makes the value missing with a flag. Sources: DICOM PS3.3 (defined terms), PS3.6, PS3.16 CID 4
(anatomic regions); kernels by the vendors' own names.
"""

import re
from collections.abc import Callable, Mapping

TOP_AGE = 89.0  # years; older people are few enough to be recognized by age alone
_OLDEST, _STRONGEST_T = 130.0, 25.0  # years, tesla
_AGE = re.compile(r"^(?:>=?|≥)?\s*(\d{1,4}(?:\.\d+)?)\s*([DWMY]?)[a-z]*\s*\+?$", re.IGNORECASE)
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0, "": 1.0}
_NUMBER = re.compile(r"^(\d+(?:\.\d+)?)\s*(T|Tesla|mT|G|Gauss)?$", re.IGNORECASE)
_SEXES = {
    "F": ("f", "female", "woman", "girl", "fem", "w", "weiblich", "femme", "mujer"),
    "M": ("m", "male", "man", "boy", "masc", "männlich", "homme", "hombre"),
    "O": ("o", "other", "nonbinary", "non-binary", "intersex", "diverse", "divers"),
}
_VENDORS = {
    r"siemens": "Siemens",
    r"\bge\b|general electric": "GE",
    r"philips": "Philips",
    r"canon|toshiba": "Canon",
    r"fuji|hitachi": "Fujifilm",
    r"hyperfine": "Hyperfine",
    r"\buih\b|united imaging": "United Imaging",
    r"agfa": "Agfa",
    r"carestream|kodak": "Carestream",
    r"hologic|lorad": "Hologic",
    r"bruker": "Bruker",
    r"samsung|medison": "Samsung",
    r"esaote": "Esaote",
    r"shimadzu": "Shimadzu",
    r"neusoft": "Neusoft",
}
_REGIONS: Mapping[str, tuple[str, ...]] = {
    "HEAD": ("69536005", "T-D1100", "SKULL", "HEAD_TRAUMA", "89546000", "T-11100"),
    "BRAIN": ("12738006", "T-A0100", "CEREBRUM", "NEURO"),
    "HEADNECK": ("774007", "T-D1000", "HEAD_NECK", "HEAD AND NECK"),
    "NECK": ("45048000", "T-D1600"),
    "CSPINE": ("122494005", "T-11501", "C_SPINE", "CERVICAL SPINE", "CERVICAL_SPINE"),
    "TSPINE": ("122495006", "T-11502", "T_SPINE", "THORACIC SPINE", "THORACIC_SPINE", "DSPINE"),
    "LSPINE": ("122496007", "T-11503", "L_SPINE", "LUMBAR SPINE", "LUMBAR_SPINE"),
    "SPINE": ("421060004", "T-D04FF", "WHOLESPINE"),
    "CHEST": ("816094009", "51185008", "T-D3000", "THORAX", "LUNG", "39607008", "T-28000"),
    "HEART": ("80891009", "T-32000", "CARDIAC"),
    "BREAST": ("76752008", "T-04000"),
    "CHESTABDOMEN": ("416550000", "R-FAB55", "CHEST_ABDOMEN"),
    "CHESTABDPELVIS": ("416775004", "R-FAB56", "CHEST_TO_PELVIS", "CAP"),
    "ABDOMEN": ("818981001", "818983003", "113345001", "T-D4000"),
    "ABDOMENPELVIS": ("818982008", "T-FAB57", "ABDOMEN_PELVIS", "ABD_PEL", "ABDPELVIS"),
    "PELVIS": ("816092008", "12921003", "T-D6000"),
    "LIVER": ("10200004", "T-62000"),
    "KIDNEY": ("64033007", "T-71000"),
    "PROSTATE": ("41216001", "T-92000"),
    "SHOULDER": ("16982005", "T-D2220"),
    "ARM": ("40983000", "T-D8200", "UP_EXM", "HUMERUS", "FOREARM", "14975008", "T-D8500"),
    "HAND": ("85562004", "T-D8700", "FINGER", "7569003", "T-D8800"),
    "HIP": ("29836001", "T-D2500", "24136001", "T-15710"),
    "KNEE": ("72696002", "T-D9200", "49076000", "T-15720"),
    "LEG": ("30021000", "T-D9400", "68367000", "T-D9100", "LOW_EXM", "TIBIA", "FEMUR"),
    "FOOT": ("56459004", "T-D9700"),
    "ELBOW": (),
    "WRIST": (),
    "ANKLE": (),
    "EXTREMITY": ("EXTREMITIES",),
    "WHOLEBODY": ("38266002", "T-D0010", "WHOLE_BODY", "WHOLE BODY"),
}
_VIEWS = {
    "AP": ("ANTEROPOSTERIOR",),
    "PA": ("POSTEROANTERIOR",),
    "LATERAL": ("LAT", "LL", "RL"),
    "LAO": (), "RAO": (), "LPO": (), "RPO": (),
    "CC": ("CRANIOCAUDAL",), "MLO": ("MEDIOLATERALOBLIQUE",), "ML": (), "LM": (), "XCCL": (),
}  # fmt: skip
_SEQUENCES = ("SE", "IR", "GR", "EP", "RM")  # PS3.3 C.8.3.1.1.1, Scanning Sequence
_KERNELS = {
    "smooth": r"SOFT|SMOOTH|A|B|FC0[1-7]",
    "standard": r"STANDARD|STND|C|FC1[0-8]|FC2[0-9]",
    "sharp": r"SHARP|DETAIL|LUNG|CHST|BONE|BONEPLUS|EDGE|D|E|L|YA|YB|YC|FC[358]\d",
}
_SIEMENS_KERNEL = re.compile(r"^[BHIJTUQ][a-z]?(\d\d)[a-z]?$", re.IGNORECASE)


def normal_age(text: str) -> str:
    """Years, at most 89, of DICOM's "056Y", "006M", "010W", "003D", and of "56", "89+", ">89"."""
    match = _AGE.match(text)
    years = float(match[1]) / _PER_YEAR[match[2].upper()] if match else _OLDEST + 1
    if years > _OLDEST:
        raise ValueError("an age must be a number of years or of DICOM's form")
    return f"{min(years, TOP_AGE):.10g}"


def normal_sex(text: str) -> str:
    """F, M or O."""
    return _looked_up(text.lower(), _SEXES, "a sex must be F, M or O")


def normal_vendor(text: str) -> str:
    """One of a closed list of vendors."""
    found = (vendor for mark, vendor in _VENDORS.items() if re.search(mark, text.lower()))
    return next(found, "other")


def normal_field(text: str) -> str:
    """Tesla, to the nearest half from 0.75 T on; numbers above 100 are gauss (PS3.6 says tesla)."""
    match = _NUMBER.match(text)
    if not match:
        raise ValueError("a field strength must be a number")
    number, unit = float(match[1]), (match[2] or "").lower()
    tesla = number / 1e4 if unit[:1] == "g" or (not unit and number > 100) else number
    tesla = number / 1e3 if unit == "mt" else tesla
    if not 0 < tesla <= _STRONGEST_T:
        raise ValueError("a field strength must lie above 0 and below 25 T")
    return f"{round(tesla * 2) / 2 if tesla >= 0.75 else round(tesla, 2):g}"


def normal_region(text: str) -> str:
    """A body part of a closed list, from a word or a code of PS3.16 (SCT or SRT)."""
    return _looked_up(text.upper(), _REGIONS, "a body part must be on the list of regions")


def normal_view(text: str) -> str:
    """A projection of a closed list; left and right lateral are one."""
    return _looked_up(re.sub(r"[\s_-]", "", text.upper()), _VIEWS, "a view must be on the list")


def normal_sequence(text: str) -> str:
    """The scanning sequence's words, sorted and joined by "+" ("GR+IR")."""
    words = set(filter(None, re.split(r"[\\_+,\s]+", text.upper())))
    if not words or not words <= set(_SEQUENCES):
        raise ValueError("a scanning sequence must be made of SE, IR, GR, EP and RM")
    return "+".join(sorted(words))


def normal_contrast(text: str) -> str:
    """Whether a contrast agent was given; which one is not kept."""
    return "no" if text.lower() in ("no", "none", "without", "0", "false") else "yes"


def normal_kernel(text: str) -> str:
    """smooth, standard or sharp, of a CT reconstruction kernel's name."""
    name = text.split("\\")[0].strip()
    if siemens := _SIEMENS_KERNEL.match(name):
        number = int(siemens[1])
        return "smooth" if number < 36 else "standard" if number < 50 else "sharp"
    for kind, names in _KERNELS.items():
        if re.fullmatch(names, name.upper().replace(" ", "")):
            return kind
    raise ValueError("a kernel must be one that is known")


def normal_model(text: str) -> str:
    """A scanner's model in letters, digits and single spaces."""
    return re.sub(r"[^A-Za-z0-9.+-]+", " ", text).strip()


def normal_words(text: str) -> str:
    """Any other text, as it is."""
    return text


def _looked_up(text: str, words: Mapping[str, tuple[str, ...]], message: str) -> str:
    for normal, spellings in words.items():
        if text == normal.lower() or text == normal or text in spellings:
            return normal
    raise ValueError(message)


FORMS: Mapping[str, Callable[[str], str]] = {
    "PatientAge": normal_age,
    "PatientSex": normal_sex,
    "Manufacturer": normal_vendor,
    "ManufacturerModelName": normal_model,
    "MagneticFieldStrength": normal_field,
    "BodyPartExamined": normal_region,
    "AnatomicRegionSequence": normal_region,
    "ViewPosition": normal_view,
    "ScanningSequence": normal_sequence,
    "ContrastBolusAgent": normal_contrast,
    "ConvolutionKernel": normal_kernel,
}
"""DICOM keyword to the normal form of its values."""
