// dlib is renamed in this file. go-face compiles the same templates with
// -march=native, where dlib's SIMD types have another alignment and calling
// convention; under one name the linker would keep one of the two copies of
// each and mix them (an ODR violation that ends in misaligned stores or, on
// another processor, in illegal instructions). Renamed, they never meet.
#define dlib restored_dlib

#include "dlib.h"
#include "hog.h"

#include <dlib/image_processing/frontal_face_detector.h>
#include <dlib/image_processing/shape_predictor.h>
#include <dlib/image_transforms.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <fstream>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace restored_detect {
std::string serialized_frontal_faces();
}

typedef dlib::frontal_face_detector::image_scanner_type scanner_type;
typedef dlib::array2d<unsigned char> gray_image;
typedef dlib::array2d<dlib::rgb_pixel> rgb_image;

// The face detector of dlib, which takes most of a second to unpack: once in a
// process.
struct face_filters {
	dlib::frontal_face_detector detector;
	std::vector<restored_detect::hog_term> terms[8];  // of each filter, for gray images
	double base[8];                                   // threshold of each filter
	face_filters();
};

struct detect_ctx {
	const face_filters *faces;
	scanner_type scanner;
	dlib::shape_predictor predictor;
};

namespace {

void put_error(char *err, size_t errlen, const char *what) {
	if (err == nullptr || errlen == 0) return;
	strncpy(err, what, errlen - 1);
	err[errlen - 1] = 0;
}

// guarded runs f and turns whatever it throws into -1 and a reason.
template <typename F>
int guarded(char *err, size_t errlen, F f) {
	try {
		f();
		return 0;
	} catch (const std::bad_alloc &) {
		put_error(err, errlen, "out of memory");
	} catch (const std::exception &e) {
		put_error(err, errlen, e.what());
	} catch (...) {
		put_error(err, errlen, "unknown C++ exception");
	}
	return -1;
}

template <typename Image>
void copy_rows(const detect_image *im, Image &out) {
	out.set_size(im->height, im->width);
	const size_t row = size_t(im->width) * im->channels;
	for (long y = 0; y < im->height; ++y)
		memcpy(&out[y][0], im->pix + size_t(y) * im->stride, row);
}

// in_parallel calls f(0) to f(n-1), each once, on this and up to threads-1 other
// threads, and throws again what an f threw.
template <typename F>
void in_parallel(int n, int threads, F f) {
	std::atomic<int> next(0);
	std::vector<std::exception_ptr> failed(std::max(1, std::min(threads, n)));
	auto work = [&](size_t t) {
		try {
			for (int i = next++; i < n; i = next++) f(i);
		} catch (...) {
			failed[t] = std::current_exception();
		}
	};
	std::vector<std::thread> pool;
	pool.reserve(failed.size());
	for (size_t t = 1; t < failed.size(); ++t) {
		try {
			pool.emplace_back(work, t);
		} catch (const std::system_error &) {
			break;  // no thread to be had: the others do its share
		}
	}
	work(0);
	for (auto &t : pool) t.join();
	for (auto &e : failed)
		if (e) std::rethrow_exception(e);
}

struct found {
	double score;
	dlib::rectangle rect;
	int filter;
};

// scan_gray is scan_rgb for gray images, with hog.cc's loops, which take less
// than half as long.
std::vector<found> scan_gray(detect_ctx *ctx, const detect_image *im, bool upsample, double threshold, int threads) {
	using namespace restored_detect;
	dlib::pyramid_down<6> pyr;
	std::vector<gray_image> levels(1);
	copy_rows(im, levels[0]);
	if (upsample) dlib::pyramid_up(levels[0]);
	for (;;) {
		const dlib::rectangle r = pyr.rect_down(dlib::get_rect(levels.back()));
		if (r.width() < ctx->scanner.get_min_pyramid_layer_width() ||
		    r.height() < ctx->scanner.get_min_pyramid_layer_height() ||
		    levels.size() >= ctx->scanner.get_max_pyramid_levels())
			break;
		const gray_image &from = levels.back();
		long rows = from.nr(), cols = from.nc();
		dlib::find_pyramid_down_output_image_size(pyr, rows, cols);
		gray_image to(rows, cols);
		hog_shrink(&from[0][0], from.width_step(), int(from.nc()), int(from.nr()), &to[0][0], to.width_step(), int(cols),
		           int(rows));
		levels.push_back(std::move(to));
	}

	const int nl = int(levels.size()), nf = int(ctx->faces->detector.num_detectors());
	std::vector<hog_features> feats(nl);
	in_parallel(nl, threads, [&](int l) {
		const auto &img = levels[l];
		hog_extract(&img[0][0], img.width_step(), int(img.nc()), int(img.nr()), feats[l]);
	});
	levels.clear();

	std::vector<std::vector<found>> dets(nl * nf);
	in_parallel(nl * nf, threads, [&](int i) {
		const int l = i / nf, filter = i % nf;
		if (feats[l].rows == 0) return;
		std::vector<float> score, scratch;
		hog_filter(feats[l], ctx->faces->terms[filter], score, scratch);
		const double least = ctx->faces->base[filter] + threshold;
		const unsigned long box = hog_taps - 2 * ctx->scanner.get_padding();
		const int first = hog_taps / 2, over = hog_taps - 1 - first;
		for (int r = first; r < feats[l].rows - over; ++r) {
			for (int c = first; c < feats[l].cols - over; ++c) {
				const float v = score[size_t(r) * feats[l].cols + c];
				if (!(v >= least)) continue;
				const auto rect = dlib::fhog_to_image(dlib::centered_rect(dlib::point(c, r), box, box), hog_cell,
				                                      hog_taps, hog_taps);
				dets[i].push_back({v - ctx->faces->base[filter], pyr.rect_up(rect, l), filter});
			}
		}
	});
	std::vector<found> all;
	for (const auto &d : dets) all.insert(all.end(), d.begin(), d.end());
	return all;
}

// scan_rgb is dlib's own scan, the filters shared among threads. The gradients
// are those of the strongest channel.
std::vector<found> scan_rgb(detect_ctx *ctx, const detect_image *im, bool upsample, double threshold, int threads) {
	{
		rgb_image img;
		copy_rows(im, img);
		if (upsample) dlib::pyramid_up(img);
		ctx->scanner.load(img);
	}
	const int n = int(ctx->faces->detector.num_detectors());
	std::vector<std::vector<std::pair<double, dlib::rectangle>>> dets(n);
	in_parallel(n, threads, [&](int i) {
		ctx->scanner.detect(ctx->faces->detector.get_processed_w(i).get_detect_argument(), dets[i],
		                    ctx->faces->base[i] + threshold);
	});
	std::vector<found> all;
	for (int i = 0; i < n; ++i)
		for (const auto &d : dets[i]) all.push_back({d.first - ctx->faces->base[i], d.second, i});
	return all;
}

}  // namespace

// The filters are brought to sums of outer products, as
// scan_fhog_pyramid::build_fhog_filterbank does, which keeps its own to itself.
face_filters::face_filters() {
	using namespace restored_detect;
	std::istringstream packed(serialized_frontal_faces());
	dlib::deserialize(detector, packed);
	const auto &sc = detector.get_scanner();
	const long size = long(hog_taps) * hog_taps;
	if (sc.get_fhog_window_width() != hog_taps || sc.get_fhog_window_height() != hog_taps ||
	    sc.get_cell_size() != hog_cell || sc.get_num_dimensions() != size * hog_planes || detector.num_detectors() > 8)
		throw std::runtime_error("dlib's face detector isn't the one this was written for");
	for (size_t i = 0; i < detector.num_detectors(); ++i) {
		const auto &weights = detector.get_w(i);
		base[i] = weights(size * hog_planes);
		for (int p = 0; p < hog_planes; ++p) {
			dlib::matrix<double> u, v, w;
			dlib::matrix<double> f = dlib::reshape(dlib::rowm(weights, dlib::range(p * size, (p + 1) * size - 1)),
			                                       hog_taps, hog_taps);
			dlib::svd3(f, u, w, v);
			const double least = std::max(1e-4, dlib::max(w) * 0.001);
			for (long j = 0; j < w.size(); ++j) {
				if (w(j) < least) continue;
				hog_term t;
				t.plane = p;
				for (int k = 0; k < hog_taps; ++k) {
					t.col[k] = float(u(k, j) * std::sqrt(w(j)));
					t.row[k] = float(v(k, j) * std::sqrt(w(j)));
				}
				terms[i].push_back(t);
			}
		}
	}
}

extern "C" int detect_new(const char *predictor, detect_ctx **out, int *parts, char *err, size_t errlen) {
	*out = nullptr;
	detect_ctx *ctx = nullptr;
	int rc = guarded(err, errlen, [&] {
		static const face_filters faces;  // made anew if it threw
		ctx = new detect_ctx;
		ctx->faces = &faces;
		ctx->scanner.copy_configuration(faces.detector.get_scanner());
		std::ifstream file(predictor, std::ios::binary);
		if (!file) throw std::runtime_error("can't be opened");
		dlib::deserialize(ctx->predictor, file);
		*parts = int(ctx->predictor.num_parts());
	});
	if (rc != 0) {
		delete ctx;
		return rc;
	}
	*out = ctx;
	return 0;
}

extern "C" void detect_free(detect_ctx *ctx) { delete ctx; }

extern "C" int detect_scan(detect_ctx *ctx, const detect_image *im, int upsample, double threshold, int threads,
                           detect_hit *hits, int cap, int *n, char *err, size_t errlen) {
	*n = 0;
	return guarded(err, errlen, [&] {
		auto all = im->channels == 1 ? scan_gray(ctx, im, upsample != 0, threshold, threads)
		                             : scan_rgb(ctx, im, upsample != 0, threshold, threads);
		std::stable_sort(all.begin(), all.end(), [](const found &a, const found &b) { return a.score > b.score; });
		// Non-maximum suppression as in dlib::object_detector.
		const auto &overlap = ctx->faces->detector.get_overlap_tester();
		std::vector<dlib::rectangle> kept;
		dlib::pyramid_down<2> pyr;
		for (const auto &f : all) {
			bool taken = false;
			for (const auto &k : kept) taken = taken || overlap(k, f.rect);
			if (taken) continue;
			if (*n == cap) break;
			kept.push_back(f.rect);
			const dlib::rectangle r = upsample ? dlib::rectangle(pyr.rect_down(f.rect)) : f.rect;
			hits[(*n)++] = {f.score, r.left(), r.top(), r.right(), r.bottom(), f.filter};
		}
	});
}

extern "C" int detect_landmarks(detect_ctx *ctx, const detect_image *im, const long *boxes, int n,
                                double *xy, int parts, char *err, size_t errlen) {
	return guarded(err, errlen, [&] {
		gray_image img;
		copy_rows(im, img);
		for (const long *b = boxes; b != boxes + 4 * n; b += 4, xy += 2 * parts) {
			const auto shape = ctx->predictor(img, dlib::rectangle(b[0], b[1], b[2], b[3]));
			if (int(shape.num_parts()) != parts) throw std::runtime_error("unexpected number of points");
			for (int i = 0; i < parts; ++i) {
				xy[2 * i] = double(shape.part(i).x());
				xy[2 * i + 1] = double(shape.part(i).y());
			}
		}
	});
}
