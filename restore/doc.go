// Package restore runs face restoration networks through ONNX Runtime.
//
// A restorer is an ONNX file whose image input and output are NCHW
// [N,3,S,S]. What differs between families of networks (the size, the template
// that faces are aligned to, the range, the extra inputs) is data: a Spec. Our
// own files carry theirs in their ONNX metadata; the Specs of public families
// are in Families and are matched by the names of a file's inputs.
//
// The flow is Startup (once a process) → Open (once a model) → Restore (any
// number of goroutines) → Session.Close → Shutdown. The ONNX Runtime
// environment is global to the process, so the command owns Startup and
// Shutdown, and a Session must be closed before Shutdown. Results are copied
// out of the runtime; no Go memory is kept by it after Restore returns.
package restore
