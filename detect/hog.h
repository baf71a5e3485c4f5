// The loops that cost the time of a scan, for gray images: the pyramid, HOG
// features and separable filters. They compute what dlib's templates do, in the same order
// of operations but for the sums, as plain loops that the compiler makes into
// AVX2 with FMA and baseline copies; which one runs is chosen when the program starts.
#ifndef RESTORED_DETECT_HOG_H
#define RESTORED_DETECT_HOG_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace restored_detect {

constexpr int hog_cell = 8;     // pixels a side
constexpr int hog_planes = 31;  // features of a cell
constexpr int hog_taps = 10;    // cells a side of dlib's face window

// Features of one image: planes of rows×cols cells, with hog_taps-1 rows and
// columns of zeros about them, so that the window may reach over the edge.
struct hog_features {
	int rows = 0, cols = 0;
	std::vector<float> data;
	const float *plane(int i) const { return data.data() + size_t(i) * rows * cols; }
};

// A term of a filter: an outer product, for one plane.
struct hog_term {
	int plane;
	float row[hog_taps], col[hog_taps];
};

// hog_extract computes the features of a gray image. An image of less than
// three cells a side has none (rows and cols are 0).
void hog_extract(const uint8_t *pix, long stride, int width, int height, hog_features &out);

// hog_filter sums the terms at every place of the window. The window's cell
// (hog_taps/2, hog_taps/2) is where out, rows×cols, holds its sum; the places
// where the window doesn't fit are undefined.
void hog_filter(const hog_features &f, const std::vector<hog_term> &terms, std::vector<float> &out,
                std::vector<float> &scratch);

// hog_shrink makes the next smaller image of a pyramid, out_width×out_height, by
// bilinear interpolation between corners, as dlib's pyramid_down does: to the bit,
// but for the last four columns. All sides are at least 2.
void hog_shrink(const uint8_t *pix, long stride, int width, int height, uint8_t *out, long out_stride, int out_width,
                int out_height);

}  // namespace restored_detect
#endif
