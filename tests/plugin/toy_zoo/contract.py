from keras_genzoo.models.contract import CODES, IMAGES, Endpoint, numbers


def contract(model):
    return {
        "encode": Endpoint({"images": IMAGES}, {"z": CODES}),
        "decode": Endpoint({"z": CODES}, {"images": IMAGES}),
        "reconstruct": Endpoint({"images": IMAGES}, {"images": IMAGES}),
        "error": Endpoint({"images": IMAGES}, {"squared_error": numbers("(B,)", "squared error of each image")}),
    }
