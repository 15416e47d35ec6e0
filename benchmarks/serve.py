"""Measure `ppzoo serve` under load. Right before and after, measure the predictor alone at the same batch size.

    python benchmarks/serve.py EXPORT IMAGE [--seconds 30] [--connections 64] [--engine auto]

Needs `ppzoo[serve]` and the load generator `wrk` (Debian: apt-get install wrk). The load generator runs on the same
machine and takes some of its processor time. The processor time per image of the service and of the predictor is
printed, too: other programs influence it less than the throughput.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ppzoo

BATCH = 8
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
local file = io.open("{image}", "rb")
wrk.body = file:read("*all")
file:close()
"""


def measure_predictor(predictor: ppzoo.Predictor, image: bytes, seconds: float) -> tuple[float, float]:
    """Return the images per second of batches of 8 image files, and the milliseconds of processor time per image."""
    images = [image] * BATCH
    predictor.predict(images)
    count, started, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        predictor.predict(images)
        count += BATCH
    return count / (time.perf_counter() - started), 1e3 * (time.process_time() - used) / count


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", help="the folder of an export")
    parser.add_argument("image", type=Path, help="the image file that each request sends")
    parser.add_argument("--seconds", type=int, default=30, help="duration of the load (default: 30)")
    parser.add_argument("--connections", type=int, default=64, help="open at the same time (default: 64)")
    parser.add_argument("--engine", default="auto", help="the engine of ppzoo.Predictor (default: auto)")
    options = parser.parse_args()
    image = options.image.read_bytes()

    predictor = ppzoo.Predictor(options.export, batch_size=BATCH, engine=options.engine)
    before, before_cpu = measure_predictor(predictor, image, options.seconds / 6)
    program = "from ppzoo.cli import console; console()"
    arguments = ["serve", f"model={options.export}", "--port", "0", "--engine", predictor.engine.name]
    service = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        url = service.stdout.readline().split(" at ")[1].split("/ ")[0]
        client = ppzoo.Client(url)
        client.predict([image] * BATCH)
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(SCRIPT.format(image=options.image.absolute()))
            script.flush()
            load = ["wrk", "-t1", f"-c{options.connections}", "--timeout", "20s", "--latency", "-s", script.name]
            target = f"{url}/v1/models/model:predict"
            subprocess.run([*load, "-d5s", target], check=True, capture_output=True)
            start_memory, used = resident_megabytes(service.pid), processor_seconds(service.pid)
            done = subprocess.run(
                [*load, f"-d{options.seconds}s", target], check=True, capture_output=True, text=True
            ).stdout
        end_memory, used = resident_megabytes(service.pid), processor_seconds(service.pid) - used
    finally:
        service.terminate()
        status = service.wait(60)
    after, after_cpu = measure_predictor(predictor, image, options.seconds / 6)

    served = float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1])
    errors = re.findall(r"(?:Socket errors|Non-2xx).*", done) or ["none"]
    alone, alone_cpu = (before + after) / 2, (before_cpu + after_cpu) / 2
    served_cpu = 1e3 * used / int(re.search(r"(\d+) requests in", done)[1])
    print(done)
    print(f"engine {predictor.engine.name}, {options.connections} connections, {options.seconds} s")
    print(f"errors: {'; '.join(errors)}; exit status after SIGTERM: {status}")
    print(f"memory: {start_memory:.0f} MB at the start, {end_memory:.0f} MB at the end")
    print(f"predictor alone, batches of {BATCH}: {before:.0f} and {after:.0f} images per second (before, after)")
    print(f"processor time per image: predictor {alone_cpu:.2f} ms, service {served_cpu:.2f} ms")
    print(f"service: {served:.0f} images per second, {served / alone:.2f} of the predictor alone")


if __name__ == "__main__":
    main()
