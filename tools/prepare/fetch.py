"""Downloads one file over HTTP or from Google Drive, resumes interrupted downloads, and checks the file."""

import errno
import glob
import hashlib
import json
import os
import shutil
from urllib.parse import urlsplit

import gdown
import requests
from tqdm import tqdm

TIMEOUT = (15, 60)  # seconds to connect, seconds between bytes
RETRIES = 3


class SourceError(Exception):
    """A source cannot be used. The caller tries the next one."""


def fetch(source, root, folder):
    """Downloads `source` to `folder` unless it is already there. Returns the path of the file.

    Args:
        source: a `download_plans.Source`.
        root: data folder, for sources data:<path>.

    Raises:
        SourceError: if the download fails or the file is invalid (see `check_file`).
    """
    name = os.path.basename(urlsplit(source.url).path) or "file"
    path = os.path.join(folder, f"{hashlib.sha256(source.url.encode()).hexdigest()[:8]}-{name}")
    if source.url.startswith("data:"):
        original = os.path.join(root, source.url.removeprefix("data:"))
        if not os.path.isfile(original):
            raise SourceError(f"missing file {original}")
        shutil.copyfile(original, path)
    elif not os.path.exists(path):
        download(source.url, path)
    check_file(path, source.md5)
    return path


def download(url, path):
    """Downloads `url` to `path` atomically. After an interruption, the next call resumes from the file `path*.part`."""
    options = {"id": url.removeprefix("gdrive:")} if url.startswith("gdrive:") else {"url": url}
    options |= {"output": path, "resume": True, "timeout": TIMEOUT, "retries": RETRIES, "quiet": True}
    title = f"Downloading {os.path.basename(path)}"
    with tqdm(desc=title, unit="B", unit_scale=True, leave=False, disable=None) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        try:
            gdown.download(**options, progress=progress)
        except (gdown.exceptions.DownloadError, requests.exceptions.RequestException) as error:
            if "byte range" in str(error) or "416" in str(error):
                remove_parts(path)  # the server cannot resume this download: start from the beginning next time
            raise SourceError(failure_reason(error, url)) from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise OSError(f"the disk of {os.path.dirname(path)} is full: free up space and try again") from error
            raise


def failure_reason(error, url):
    """Returns in a few words why a download failed."""
    cause = error.__cause__ or error
    host = urlsplit(url).hostname or "drive.google.com"
    if isinstance(cause, requests.exceptions.Timeout):
        return f"no answer from {host}"
    if type(cause) is requests.exceptions.ConnectionError:
        return f"no connection to {host}"
    return " ".join(str(error).split())


def remove_parts(path):
    """Deletes the partial files of an interrupted download of `path`."""
    for part in glob.glob(f"{glob.escape(path)}*.part"):
        os.remove(part)


def check_file(path, md5=""):
    """Deletes the file and raises SourceError if it is empty, is a web page, or does not have the checksum `md5`."""
    problem = ""
    with open(path, "rb") as file:
        start = file.read(64).lstrip().lower()
    if not start:
        problem = "the file is empty"
    elif start.startswith((b"<!doctype", b"<html")):
        problem = "got a web page instead of the file"
    elif md5 and (actual := md5_of(path)) != md5:
        problem = f"wrong checksum: expected {md5}, got {actual}"
    if problem:
        os.remove(path)
        raise SourceError(problem)


def md5_of(path):
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_content(path, target):
    """Raises SourceError if the content of a file does not match the extension of `target`."""
    with open(path, "rb") as file:
        content = file.read()
    try:
        if target.endswith(".json"):
            json.loads(content)
        elif target.endswith(".mat") and not content.startswith(b"MATLAB"):
            raise ValueError("no MATLAB header")
        elif target.endswith(".txt"):
            content.decode("utf-8")
    except ValueError as error:
        raise SourceError(f"not a {os.path.splitext(target)[1]} file ({error})") from error
