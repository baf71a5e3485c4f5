#include "hog.h"

#include <algorithm>
#include <cmath>

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

namespace restored_detect {
namespace {

constexpr int bins = 18;  // signed orientations

// Unit vectors of the nine unsigned orientations, as rounded by dlib.
constexpr float dir_x[9] = {1.0000f, 0.9397f, 0.7660f, 0.500f, 0.1736f, -0.1736f, -0.5000f, -0.7660f, -0.9397f};
constexpr float dir_y[9] = {0.0000f, 0.3420f, 0.6428f, 0.8660f, 0.9848f, 0.9848f, 0.8660f, 0.6428f, 0.3420f};

// A vote is a gradient's length and orientation.
struct vote {
	float length;
	int32_t bin;
};

// votes holds those of every gradient that 8-bit pixels can have: those of
// photos are mostly short, so that few entries are in use.
struct votes {
	static constexpr int reach = 255, side = 2 * reach + 1;
	std::vector<vote> of;
	votes() : of(side * side) {
		for (int y = -reach; y <= reach; ++y) {
			for (int x = -reach; x <= reach; ++x) {
				vote &v = of[(y + reach) * side + x + reach];
				float best = 0;
				for (int k = 0; k < 9; ++k) {
					const float dot = float(x) * dir_x[k] + float(y) * dir_y[k];
					if (dot > best) {
						best = dot;
						v.bin = k;
					} else if (-dot > best) {
						best = -dot;
						v.bin = k + 9;
					}
				}
				v.length = std::sqrt(float(x * x + y * y));
			}
		}
	}
};

// spread adds a row of pixels' histograms to the two rows of cells about it.
CLONES void spread(const float *__restrict line, int n, float upper, float lower, float *__restrict a,
                   float *__restrict b) {
	for (int i = 0; i < n; ++i) {
		a[i] += upper * line[i];
		b[i] += lower * line[i];
	}
}

// cell_features computes the planes of a row of cells from their histograms and
// the energies e of the rows of cells above, at and below.
CLONES void cell_features(const float *__restrict hist, const float *const e[3], int n, float *__restrict out,
                          size_t plane) {
	for (int x = 0; x < n; ++x, hist += bins, ++out) {
		const float around[4] = {
		    e[1][x + 1] + e[1][x + 2] + e[2][x + 1] + e[2][x + 2],
		    e[0][x + 1] + e[0][x + 2] + e[1][x + 1] + e[1][x + 2],
		    e[1][x] + e[1][x + 1] + e[2][x] + e[2][x + 1],
		    e[0][x] + e[0][x + 1] + e[1][x] + e[1][x + 1],
		};
		float cap[4], scale[4];
		for (int k = 0; k < 4; ++k) {
			cap[k] = 0.2f * sqrtf(around[k] + 0.0001f);
			scale[k] = 0.1f / cap[k];
		}
		float signed_bins[bins], texture[4] = {0, 0, 0, 0};
		for (int o = 0; o < bins; ++o) signed_bins[o] = 0;
		float unsigned_bins[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0};
		for (int k = 0; k < 4; ++k) {
			float t = 0;
			for (int o = 0; o < bins; ++o) {
				const float h = std::min(hist[o], cap[k]) * scale[k];
				signed_bins[o] += h;
				t += h;
			}
			texture[k] = t * (2 * 0.2357f);
			for (int o = 0; o < 9; ++o) unsigned_bins[o] += std::min(hist[o] + hist[o + 9], cap[k]) * scale[k];
		}
		for (int o = 0; o < bins; ++o) out[o * plane] = signed_bins[o];
		for (int o = 0; o < 9; ++o) out[(bins + o) * plane] = unsigned_bins[o];
		for (int k = 0; k < 4; ++k) out[(27 + k) * plane] = texture[k];
	}
}

// row_pass and col_pass are the two halves of an outer product's correlation.
CLONES void row_pass(const float *__restrict in, const float *__restrict f, int n, float *__restrict out) {
	const float f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3], f4 = f[4], f5 = f[5], f6 = f[6], f7 = f[7], f8 = f[8],
	            f9 = f[9];
	for (int c = 0; c < n; ++c)
		out[c] = (in[c] * f0 + in[c + 1] * f1 + in[c + 2] * f2 + in[c + 3] * f3 + in[c + 4] * f4) +
		         (in[c + 5] * f5 + in[c + 6] * f6 + in[c + 7] * f7 + in[c + 8] * f8 + in[c + 9] * f9);
}

CLONES void col_pass(const float *__restrict in, const float *__restrict f, int n, size_t stride,
                     float *__restrict out) {
	const float f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3], f4 = f[4], f5 = f[5], f6 = f[6], f7 = f[7], f8 = f[8],
	            f9 = f[9];
	const float *a = in, *b = in + 5 * stride;
	for (int c = 0; c < n; ++c)
		out[c] += (a[c] * f0 + a[c + stride] * f1 + a[c + 2 * stride] * f2 + a[c + 3 * stride] * f3 +
		           a[c + 4 * stride] * f4) +
		          (b[c] * f5 + b[c + stride] * f6 + b[c + 2 * stride] * f7 + b[c + 3 * stride] * f8 +
		           b[c + 4 * stride] * f9);
}

// blend_rows is a row between two.
CLONES void blend_rows(const float *__restrict a, const float *__restrict b, float part, int n,
                       uint8_t *__restrict out) {
	for (int x = 0; x < n; ++x) out[x] = uint8_t(int((1 - part) * a[x] + part * b[x] + 0.5f));
}

// histograms fills (rows+2)×(cols+2) cells of bins: each pixel votes with the
// length of its gradient into the four cells about it. The outermost cells
// collect what falls outside, and aren't used.
void histograms(const uint8_t *pix, long stride, int width, int height, int rows, int cols,
                std::vector<float> &hist) {
	const int wide = (cols + 2) * bins;
	hist.assign(size_t(rows + 2) * wide, 0);
	std::vector<float> line(wide);
	static const votes table;
	const vote *of = &table.of[votes::reach * votes::side + votes::reach];
	const int last_y = std::min(rows * hog_cell, height) - 1;
	const int last_x = std::min(cols * hog_cell, width) - 1;
	const int quarter = (last_x - 1) / 4;
	for (int y = 1; y < last_y; ++y) {
		const uint8_t *row = pix + size_t(y) * stride;
		const uint8_t *up = row - stride, *down = row + stride;
		std::fill(line.begin(), line.end(), 0.0f);
		const auto add = [&](int x) {
			// The centre of the pixel in cells, half a cell to the right.
			const int at = 2 * x + 1 + hog_cell;
			const float right = float(at % (2 * hog_cell)) / (2 * hog_cell);
			const vote v = of[(int(down[x]) - int(up[x])) * votes::side + int(row[x + 1]) - int(row[x - 1])];
			float *cell = &line[size_t(at / (2 * hog_cell)) * bins + v.bin];
			cell[0] += (1 - right) * v.length;
			cell[bins] += right * v.length;
		};
		// Neighbours mostly vote into the same bins, and each would wait for the
		// one before: four that are far apart don't.
		for (int x = 1; x <= quarter; ++x) {
			add(x);
			add(x + quarter);
			add(x + 2 * quarter);
			add(x + 3 * quarter);
		}
		for (int x = 1 + 4 * quarter; x < last_x; ++x) add(x);
		const int at = 2 * y + 1 + hog_cell;
		const float lower = float(at % (2 * hog_cell)) / (2 * hog_cell);
		float *upper_row = &hist[size_t(at / (2 * hog_cell)) * wide];
		spread(line.data(), wide, 1 - lower, lower, upper_row, upper_row + wide);
	}
}

}  // namespace

void hog_extract(const uint8_t *pix, long stride, int width, int height, hog_features &out) {
	out.rows = out.cols = 0;
	out.data.clear();
	const int rows = (height + hog_cell / 2) / hog_cell, cols = (width + hog_cell / 2) / hog_cell;
	if (rows < 3 || cols < 3) return;

	std::vector<float> hist;
	histograms(pix, stride, width, height, rows, cols, hist);
	const int wide = (cols + 2) * bins;
	std::vector<float> energy(size_t(rows) * cols);
	for (int r = 0; r < rows; ++r) {
		for (int c = 0; c < cols; ++c) {
			const float *h = &hist[size_t(r + 1) * wide + size_t(c + 1) * bins];
			float sum = 0;
			for (int o = 0; o < 9; ++o) sum += (h[o] + h[o + 9]) * (h[o] + h[o + 9]);
			energy[size_t(r) * cols + c] = sum;
		}
	}

	// The outermost cells have no neighbours to be normalized by, and no
	// features.
	out.rows = rows - 2 + hog_taps - 1;
	out.cols = cols - 2 + hog_taps - 1;
	const size_t plane = size_t(out.rows) * out.cols;
	out.data.assign(plane * hog_planes, 0);
	constexpr int pad = (hog_taps - 1) / 2;
	for (int y = 0; y < rows - 2; ++y) {
		const float *e = &energy[size_t(y) * cols];
		const float *const around[3] = {e, e + cols, e + 2 * cols};
		cell_features(&hist[size_t(y + 2) * wide + 2 * bins], around, cols - 2,
		              &out.data[size_t(y + pad) * out.cols + pad], plane);
	}
}

void hog_filter(const hog_features &f, const std::vector<hog_term> &terms, std::vector<float> &out,
                std::vector<float> &scratch) {
	const size_t n = size_t(f.rows) * f.cols;
	out.assign(n, 0);
	scratch.resize(n);
	constexpr int first = hog_taps / 2;
	const int width = f.cols - hog_taps + 1;
	for (const auto &t : terms) {
		const float *in = f.plane(t.plane);
		for (int r = 0; r < f.rows; ++r) {
			row_pass(in + size_t(r) * f.cols, t.row, width, &scratch[size_t(r) * f.cols + first]);
			const int top = r - hog_taps + 1;  // its last row is in the nearest cache still
			if (top >= 0)
				col_pass(&scratch[size_t(top) * f.cols + first], t.col, width, f.cols,
				         &out[size_t(top + first) * f.cols + first]);
		}
	}
}

void hog_shrink(const uint8_t *pix, long stride, int width, int height, uint8_t *out, long out_stride, int out_width,
                int out_height) {
	if (width < 2 || height < 2 || out_width < 2 || out_height < 2) return;
	const double kx = (width - 1) / double(out_width - 1), ky = (height - 1) / double(out_height - 1);
	std::vector<int> left(out_width), right(out_width);
	std::vector<float> part(out_width);
	// Places are summed up in groups of four floats, as dlib does.
	float at[4];
	for (int i = 0; i < 4; ++i) at[i] = float((i - 4) * kx);
	for (int c = 0; c < out_width; ++c) {
		at[c % 4] += float(4 * kx);
		left[c] = std::min(int(at[c % 4]), width - 1);
		right[c] = std::min(left[c] + 1, width - 1);
		part[c] = at[c % 4] - float(left[c]);
	}
	double y = -ky;
	std::vector<float> lines[2];
	int held[2] = {-1, -1};  // the rows that lines are of; row y is in line y % 2
	for (auto &l : lines) l.resize(out_width);
	const auto line = [&](int row) {
		float *l = lines[row % 2].data();
		if (held[row % 2] != row) {
			held[row % 2] = row;
			const uint8_t *in = pix + size_t(row) * stride;
			for (int c = 0; c < out_width; ++c) l[c] = (1 - part[c]) * in[left[c]] + part[c] * in[right[c]];
		}
		return l;
	};
	for (int r = 0; r < out_height; ++r) {
		y += ky;
		const int top = int(y);
		blend_rows(line(top), line(std::min(top + 1, height - 1)), float(y - top), out_width, out + size_t(r) * out_stride);
	}
}

}  // namespace restored_detect
