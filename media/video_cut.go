package media

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"os"
)

// cutOff says why the file ends before what its container announces, or "".
// packets is how many the main stream had; less than zero: not counted.
func (in *input) cutOff(v *Video, packets int64) string {
	st, err := in.file.Stat()
	if err != nil {
		return ""
	}
	var announced int64
	switch v.Format {
	case "mov,mp4,m4a,3gp,3g2,mj2":
		announced = boxesEnd(in.file, st.Size())
		if want := v.Stream().Frames; announced <= st.Size() && packets >= 0 && packets < want {
			return fmt.Sprintf("%d of %d pictures are there", packets, want)
		}
	case "matroska,webm":
		announced = segmentEnd(in.file)
	case "avi":
		announced = riffEnd(in.file)
	}
	if announced > st.Size() {
		return fmt.Sprintf("the file has %d bytes of %d or more", st.Size(), announced)
	}
	return ""
}

// boxesEnd is where the last top-level box of an MP4 or MOV file should end.
func boxesEnd(f *os.File, size int64) int64 {
	var h [16]byte
	at := int64(0)
	for range 1 << 20 {
		if at >= size {
			break
		}
		if n, err := f.ReadAt(h[:], at); n < 8 || err != nil && err != io.EOF {
			return at + 8 // of a box not even the header is there
		}
		n := int64(binary.BigEndian.Uint32(h[:]))
		switch n {
		case 0: // to the file's end
			return size
		case 1:
			n = int64(binary.BigEndian.Uint64(h[8:]))
		}
		if n < 8 || n > 1<<60 {
			return 0 // no box: says nothing
		}
		at += n
	}
	return at
}

// segmentEnd is where the first segment of a Matroska file should end; 0: it doesn't say.
func segmentEnd(f *os.File) int64 {
	var h [16]byte
	at := int64(0)
	for range 16 {
		n, _ := f.ReadAt(h[:], at)
		b := h[:n]
		id := vintLen(b)
		if id == 0 || id >= len(b) {
			return 0
		}
		l := vintLen(b[id:])
		if l == 0 || id+l > len(b) {
			return 0
		}
		size := int64(b[id]) & (1<<(8-l) - 1)
		for _, c := range b[id+1 : id+l] {
			size = size<<8 | int64(c)
		}
		unknown := size == 1<<(7*l)-1
		at += int64(id + l)
		if unknown || size > 1<<56 {
			return 0
		}
		at += size
		if binary.BigEndian.Uint32(h[:]) == 0x18538067 {
			return at
		}
	}
	return 0
}

// vintLen is the length of Matroska's number at the start of b; 0: none.
func vintLen(b []byte) int {
	if len(b) == 0 || b[0] == 0 {
		return 0
	}
	return bits.LeadingZeros8(b[0]) + 1
}

// riffEnd is where the first RIFF chunk of an AVI file should end; 0: it doesn't say.
func riffEnd(f *os.File) int64 {
	var h [12]byte
	if _, err := f.ReadAt(h[:], 0); err != nil || string(h[:4]) != "RIFF" || string(h[8:]) != "AVI " {
		return 0
	}
	n := int64(binary.LittleEndian.Uint32(h[4:]))
	if n == 0 || n >= 0xfffffff0 {
		return 0
	}
	return n + 8
}
