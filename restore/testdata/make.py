"""Makes the tiny networks of this folder: each has the inputs and outputs of a
public family of restorers and a body that shows that every input arrived.

    python restore/testdata/make.py        (needs the package onnx)
"""

import os

import onnx
from onnx import TensorProto as T
from onnx import helper as h

HERE = os.path.dirname(os.path.abspath(__file__))


def save(name, inputs, outputs, nodes, init=(), meta=None):
    graph = h.make_graph(nodes, name, inputs, outputs, list(init))
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 16)], ir_version=8, producer_name="restored-testdata")
    if meta:
        h.set_model_props(model, meta)
    onnx.checker.check_model(model)
    onnx.save(model, os.path.join(HERE, name + ".onnx"))


def image(name, size, dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, [None, 3, size, size])


def scalar(name, value, dtype=T.FLOAT):
    return h.make_tensor(name, dtype, [], [value])


def negate(name, image_in, image_out, size, extra_outputs=()):
    """output = −input, so that a wrong range or colour order would show."""
    nodes = [h.make_node("Neg", [image_in], [image_out])]
    nodes += [h.make_node("Abs", [image_in], [o]) for o in extra_outputs]
    save(name, [image(image_in, size)], [image(o, size) for o in (image_out, *extra_outputs)], nodes)


def weighted(name, image_in, image_out, weight, dtype):
    """output = weight · input."""
    nodes = [
        h.make_node("Cast", [weight], ["w32"], to=T.FLOAT),
        h.make_node("Mul", [image_in, "w32"], [image_out]),
    ]
    save(name, [image(image_in, 512), h.make_tensor_value_info(weight, dtype, [1])], [image(image_out, 512)], nodes)


def main():
    negate("gfpgan", "input", "output", 512)
    negate("gfpgan_1288", "input", "1288", 512)
    negate("restoreformer", "input", "2359", 512, ["1001", "1002"])
    for size in (256, 1024, 2048):
        negate(f"gpen_{size}", "input", "output", size)
    weighted("codeformer", "x", "y", "w", T.DOUBLE)
    weighted("codeformer_weight", "input", "output", "weight", T.DOUBLE)
    weighted("vqfr", "x_lq", "main_dec", "fidelity_ratio", T.FLOAT)

    # fp16 in and out, with a Spec of ours: BGR, range 0..1, side 32; it adds 1/4 to blue.
    add = h.make_tensor("add", T.FLOAT16, [1, 3, 1, 1], [0.25, 0, 0])
    spec = (
        '{"family":"test","name":"half","size":32,"template":"ffhq_512","range":[0,1],"colour_order":"BGR",'
        '"batchable":true}'
    )
    save("half_bgr", [image("in", 32, T.FLOAT16)], [image("out", 32, T.FLOAT16)],
         [h.make_node("Add", ["in", "add"], ["out"])], [add], {"restored.spec": spec})

    # output = 0·image + mean(noise) + steps: shows noise and steps.
    nodes = [
        h.make_node("ReduceMean", ["noise"], ["m"], axes=[1, 2, 3], keepdims=1),
        h.make_node("Cast", ["steps"], ["s32"], to=T.FLOAT),
        h.make_node("Mul", ["s32", "tenth"], ["s"]),
        h.make_node("Reshape", ["s", "shape"], ["s4"]),
        h.make_node("Mul", ["image", "zero"], ["z"]),
        h.make_node("Add", ["m", "s4"], ["ms"]),
        h.make_node("Add", ["z", "ms"], ["restored"]),
    ]
    spec = (
        '{"family":"pltrans","name":"probe","size":32,"template":"ffhq_512","range":[-1,1],"colour_order":"RGB",'
        '"image_input":"image","output":"restored","batchable":true,"extra_inputs":['
        '{"name":"noise","shape":[16,16,16],"default":"normal"},{"name":"steps","default":4,"min":0,"max":8}]}'
    )
    save("noise_steps",
         [image("image", 32), h.make_tensor_value_info("noise", T.FLOAT, [None, 16, 16, 16]),
          h.make_tensor_value_info("steps", T.INT64, [None])],
         [image("restored", 32)], nodes,
         [scalar("tenth", 0.1), scalar("zero", 0.0), h.make_tensor("shape", T.INT64, [4], [-1, 1, 1, 1])],
         {"restored.spec": spec})

    # For checks of models: one that changes nothing, one that paints the face in one colour.
    save("copies", [image("input", 512)], [image("output", 512)], [h.make_node("Identity", ["input"], ["output"])])
    save("solid", [image("input", 512)], [image("output", 512)],
         [h.make_node("Mul", ["input", "k"], ["z"]), h.make_node("Add", ["z", "k"], ["output"])], [scalar("k", 0.001)])

    # A restorer of no known family: output = gain · picture.
    save("stranger", [image("picture", 48), h.make_tensor_value_info("gain", T.FLOAT, [1])], [image("better", 48)],
         [h.make_node("Mul", ["picture", "gain"], ["better"])])

    # Faulty ones.
    save("bad_spec", [image("in", 32)], [image("out", 32)], [h.make_node("Neg", ["in"], ["out"])],
         meta={"restored.spec": '{"size":7,"template":"none","range":[1,0],"colour_order":"CMY"}'})
    save("unknown", [h.make_tensor_value_info("text", T.INT64, [None])],
         [h.make_tensor_value_info("out", T.INT64, [None])], [h.make_node("Neg", ["text"], ["out"])])
    save("nan", [image("in", 32)], [image("out", 32)], [h.make_node("Div", ["in", "zero"], ["out"])],
         [scalar("zero", 0.0)],
         {"restored.spec": '{"family":"test","size":32,"template":"ffhq_512","range":[-1,1],"colour_order":"RGB"}'})
    # Runs for minutes: to be cancelled.
    body = h.make_graph(
        [h.make_node("Conv", ["x", "k"], ["y"], pads=[1, 1, 1, 1]), h.make_node("Identity", ["c"], ["co"])], "body",
        [h.make_tensor_value_info("i", T.INT64, []), h.make_tensor_value_info("c", T.BOOL, []),
         image("x", 32)],
        [h.make_tensor_value_info("co", T.BOOL, []), image("y", 32)])
    save("endless", [image("in", 32)], [image("out", 32)],
         [h.make_node("Loop", ["trips", "true", "in"], ["out"], body=body)],
         [h.make_tensor("trips", T.INT64, [], [10**9]), h.make_tensor("true", T.BOOL, [], [True]),
          h.make_tensor("k", T.FLOAT, [3, 3, 3, 3], [0.01] * 81)],
         {"restored.spec": '{"family":"test","size":32,"template":"ffhq_512","range":[-1,1],"colour_order":"RGB"}'})


if __name__ == "__main__":
    main()
