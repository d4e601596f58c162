"""What a daemon says of a pull that failed, in our words: daemons and registries have many for the same thing."""

import re

from polyport.errors import ImageError
from polyport.images.references import Reference

#: Expressions, looked for in this order: Docker's registry denies what does not exist, so that "denied" goes first.
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("disk full", ("no space left on device", "disk quota exceeded", "not enough space")),
    (
        "architecture",
        (
            "no matching manifest for",
            "no image found in manifest list",
            "no image found in image index",
            "does not match the specified platform",
        ),
    ),
    ("too many", ("toomanyrequests", "too many requests", "status code from registry 429")),
    (
        "denied",
        (
            "unauthorized",
            "denied",
            "authentication required",
            "no basic auth credentials",
            "invalid username/password",
            "authorization failed",
            "forbidden",
            r"\b40[13]\b",
        ),
    ),
    (
        "not found",
        ("manifest unknown", "name unknown", "not found", "no such image", "image not known", "does not exist"),
    ),
    (
        "unreachable",
        (
            "dial tcp",
            "dial unix",
            "connection refused",
            "connection reset",
            "no such host",
            "timeout",
            "deadline exceeded",
            "tls:",
            "x509",
            "certificate",
            r"\beof\b",
            "expected http 206",
            "server gave http response to https client",
            "status code from registry 5",
            "status code 5",
            "bad gateway",
            "service unavailable",
            "internal server error",
        ),
    ),
)


class DaemonAway(ImageError):
    """The daemon cannot be asked at the moment. Trying again makes sense."""


#: The status by which aiodocker says that it could not reach the daemon at all.
NO_DAEMON = 900


def pull(name: str, reference: Reference, message: str, hints: tuple[str, ...] = ()) -> ImageError:
    """Why the image cannot be had. ``message`` is the daemon's; ``hints`` are what was wrong with the credentials."""
    message = " ".join(message.split())
    # A name may hold any of the words that are looked for.
    kind = classify(message.replace(reference.full, "").replace(reference.repository, ""))
    said = f" The registry's words: {_short(message)}"
    where = reference.host
    texts = {
        "disk full": f'There is no space left to pull image "{name}". Free some (docker system prune), or give the '
        "daemon a larger disk.",
        "architecture": f'Image "{name}" is not there for this machine\'s architecture.' + said,
        "too many": f"Registry {where} refuses further pulls for now; log in (docker login {where}) or try again "
        f'later. Image: "{name}".' + said,
        "denied": f'Access to image "{name}" was denied by registry {where}: it is private, or there is no such image. '
        f"Log in on the machine that runs Polyport: docker login {where}." + "".join(f" {hint}" for hint in hints),
        "not found": f'Image "{name}" was not found: registry {where} has no such name, tag or digest.',
        "unreachable": f'Registry {where} could not be reached for image "{name}".' + said,
    }
    return ImageError(texts.get(kind, f'Image "{name}" could not be pulled.' + said))


def wrong_architecture(name: str, its: str, ours: str) -> ImageError:
    """The image is there, but its programs cannot run here."""
    return ImageError(
        f'Image "{name}" is for {its}, and the daemon runs {ours}. Build or name one for {ours}; where the daemon can '
        f"emulate it, set image_platform to {its}."
    )


def unknown(name: str, known: list[str]) -> ImageError:
    """Not here, and not to be pulled."""
    shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return ImageError(
        f'Image "{name}" is not on this machine, and image_pull is never. Known images: {shown or "none"}. Pull it '
        f"(polyport image pull {name}), build it (polyport image build DIR --tag NAME), or let this name stand for "
        f"another (polyport image alias '{name}' NAME)."
    )


def too_slow(name: str, reference: Reference, seconds: float) -> ImageError:
    """The pull was given up."""
    return ImageError(
        f'Image "{name}" could not be pulled from registry {reference.host} within {seconds:g} s (image_pull_timeout).'
    )


def daemon(error: Exception) -> ImageError:
    """The daemon itself refused or is away."""
    message = " ".join(str(getattr(error, "message", error)).split())
    if classify(message) == "disk full":
        return ImageError(f"The daemon's disk is full: {_short(message)}")
    if getattr(error, "status", 0) == NO_DAEMON:
        return DaemonAway("Docker or Podman does not answer, and it has the images.")
    return ImageError(f"Docker or Podman refused: {_short(message)}")


def classify(message: str) -> str:
    """The kind of failure, or empty."""
    text = message.lower()
    return next((kind for kind, words in KINDS if any(re.search(word, text) for word in words)), "")


def _short(message: str) -> str:
    return message if len(message) <= 400 else message[:397] + "..."
