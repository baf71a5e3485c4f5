#!/usr/bin/env bash
# The demo: spoils the fetched photographs the way time and small files do,
# restores them with bin/restored, and puts each face before and after side by
# side in demo/comparison.png.
set -euo pipefail
cd "$(dirname "$0")/.."
samples=.deps/samples
rm -rf demo/in demo/out demo/faces
mkdir -p demo/in demo/faces

# A small web picture, a faded print in black and white, a soft scan, a noisy PNG.
convert -quiet $samples/obama.jpg -resize 40% -blur 0x1.2 -quality 35 demo/in/web.jpg
convert -quiet $samples/astronaut.png -colorspace Gray -blur 0x2 -attenuate 0.25 +noise gaussian -level -10%,115% -quality 80 demo/in/print.jpg
convert -quiet $samples/biden.jpg -resize 25% -resize 200% -quality 85 demo/in/scan.jpg
convert -quiet $samples/obama2.jpg -blur 0x2.5 -attenuate 0.2 +noise gaussian demo/in/noisy.png

XDG_STATE_HOME=demo/state bin/restored run --force --json --out demo/out demo/in >demo/report.jsonl

# Each restored face, before above after, in one row.
python3 - <<'E2' | while read -r i geometry in out; do
import json
i = 0
for line in open("demo/report.jsonl"):
    r = json.loads(line)
    for f in r["faces"]:
        if f["decision"] != "restored":
            continue
        x, y, w, h = (f["box"][k] for k in ("x", "y", "width", "height"))
        m = w // 3
        print(i, f"{w+2*m}x{h+2*m}+{max(0,x-m)}+{max(0,y-m)}", r["input"], r["output"])
        i += 1
E2
	for side in in out; do
		convert -quiet "${!side}" -crop "$geometry" +repage -colorspace sRGB -type TrueColor -resize 320x320^ -gravity center -extent 320x320 "demo/faces/$i-$side.png"
	done
	convert -quiet "demo/faces/$i-in.png" "demo/faces/$i-out.png" -append "demo/faces/$i.png"
done
convert -quiet $(ls demo/faces/[0-9].png) +append demo/comparison.png

echo "restored photos:    $PWD/demo/out"
echo "before and after:   $PWD/demo/comparison.png"
