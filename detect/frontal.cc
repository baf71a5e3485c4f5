// dlib's serialized frontal face detector, unpacked from its header.
//
// This is the only file that sees dlib under its own name: see dlib.cc.
#include <dlib/image_processing/frontal_face_detector.h>

#include <string>

namespace restored_detect {
std::string serialized_frontal_faces() { return dlib::get_serialized_frontal_faces(); }
}
