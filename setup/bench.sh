#!/usr/bin/env bash
# Runs `restored bench` on a 12 MP photo with two faces, made of the fetched
# photographs, after checking that the binary is built.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p demo
photo=demo/bench-12mp.jpg
if [ ! -s "$photo" ]; then
	# Two portraits side by side on 4000×3000, softened: a camera photo with degraded faces.
	convert -quiet \( .deps/samples/obama.jpg -resize 2000x3000^ -gravity center -extent 2000x3000 \) \
		\( .deps/samples/biden.jpg -resize 2000x3000^ -gravity north -extent 2000x3000 \) \
		+append -blur 0x4 -attenuate 0.15 +noise gaussian -quality 90 "$photo"
fi
exec bin/restored bench "$photo" "$@"
