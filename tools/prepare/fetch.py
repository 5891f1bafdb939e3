"""Fetches one file over HTTP or from Google Drive, resumes it where it stopped, and checks it."""

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

from .archives import SourceError

TIMEOUT = (15, 60)  # seconds to connect, and between bytes
RETRIES = 3


def fetch(source, root, folder):
    """Path in `folder` of the file that `source` names; one that is there already is not fetched again.

    Args:
        source: a `download_plans.Source`.
        root: data folder, for data:<path>.

    Raises:
        SourceError: it could not be fetched, or its checksum is wrong.
    """
    name = os.path.basename(urlsplit(source.url).path) or "file"
    path = os.path.join(folder, f"{hashlib.sha256(source.url.encode()).hexdigest()[:8]}-{name}")
    if source.url.startswith("data:"):
        original = os.path.join(root, source.url.removeprefix("data:"))
        if not os.path.isfile(original):
            raise SourceError(f"there is no {original}")
        shutil.copyfile(original, path)
    elif not os.path.exists(path):
        download(source.url, path)
    check_file(path, source.md5)
    return path


def download(url, path):
    """Fetch `url` to `path`, which appears complete or not at all; parts stay beside it for the next try."""
    options = {"id": url.removeprefix("gdrive:")} if url.startswith("gdrive:") else {"url": url}
    options |= {"output": path, "resume": True, "timeout": TIMEOUT, "retries": RETRIES, "quiet": True}
    with tqdm(desc=f"Fetching {os.path.basename(path)}", unit="B", unit_scale=True, leave=False) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        try:
            gdown.download(**options, progress=progress)
        except (gdown.exceptions.DownloadError, requests.exceptions.RequestException) as error:
            if "byte range" in str(error) or "416" in str(error):
                remove_parts(path)  # the server will not continue this part: the next try starts anew
            raise SourceError(reason(error, url)) from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise OSError(f"the disk of {os.path.dirname(path)} is full: make room, run this again") from error
            raise


def reason(error, url):
    """Why a download failed, in a few words."""
    cause = error.__cause__ or error
    host = urlsplit(url).hostname or "drive.google.com"
    if isinstance(cause, requests.exceptions.Timeout):
        return f"no answer from {host}"
    if type(cause) is requests.exceptions.ConnectionError:
        return f"no connection to {host}"
    return " ".join(str(error).split())


def remove_parts(path):
    """Delete the parts of an unfinished download of `path`."""
    for part in glob.glob(f"{glob.escape(path)}*.part"):
        os.remove(part)


def check_file(path, md5=""):
    """SourceError, and the file is deleted, if it is empty, a web page, or has another checksum."""
    problem = ""
    with open(path, "rb") as file:
        start = file.read(64).lstrip().lower()
    if not start:
        problem = "the file is empty"
    elif start.startswith((b"<!doctype", b"<html")):
        problem = "that is a web page and not the file"
    elif md5 and (found := md5_of(path)) != md5:
        problem = f"its checksum is {found}, and {md5} is published"
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
    """SourceError if a single file is not of the type that `target` ends in."""
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
        raise SourceError(f"that is no {os.path.splitext(target)[1]} file ({error})") from error
