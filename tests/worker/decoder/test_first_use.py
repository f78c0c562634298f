"""After its warm-up a decoder opens no file and imports no module: its sandbox forbids it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import CORPUS
from tests.worker.inputs.pictures import IMAGES
from tests.worker.inputs.test_png import INTACT

WATCHED = """
import sys
from pathlib import Path
from worker.decoder.__main__ import _warm_up
from worker.errors import ImageError
from worker.inputs.formats import silence_libraries
from worker.inputs.images import ImagePreparer, Preprocessing
files = [(path.name, path.read_bytes()) for path in sorted(Path(sys.argv[1]).iterdir())]
silence_libraries()
_warm_up()
seen = []
preparer = ImagePreparer(Preprocessing(size=32, resize=32), max_pixels=1_000_000)
def hook(event, arguments):
    if event in ("open", "ctypes.dlopen", "socket.__new__", "os.listdir", "subprocess.Popen"):
        seen.append((event, str(arguments[0])))
    elif event == "import" and arguments[0] not in sys.modules:
        seen.append((event, str(arguments[0])))
sys.addaudithook(hook)
told = []
for name, content in files:
    for upright in (False, True):
        try:
            preparer.picture(content, upright=upright).image.tobytes()
        except ImageError:
            pass
    told += [(name, *each) for each in seen]
    seen.clear()
print(len(files), told)
"""


def test_nothing_is_loaded_at_the_first_picture_that_needs_it(tmp_path: Path) -> None:
    for number, make in enumerate([*IMAGES.values(), *INTACT.values()]):
        (tmp_path / f"made-{number}").write_bytes(make())
    for file in (CORPUS / "decode").iterdir():
        (tmp_path / f"corpus-{file.name}").write_bytes(file.read_bytes())
    command = [sys.executable, "-c", WATCHED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    count, _, told = done.stdout.partition(" ")
    assert int(count) > 50
    assert told.strip() == "[]"
