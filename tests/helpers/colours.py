"""Colours of pages."""


def contrast(one, other):
    """The contrast of two colours '#rgb' or '#rrggbb' (WCAG 2, section 1.4.3)."""

    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else ''.join(2 * c for c in colour[1:])
        values = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return sum(f * v for f, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    lighter, darker = sorted([luminance(one), luminance(other)], reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
