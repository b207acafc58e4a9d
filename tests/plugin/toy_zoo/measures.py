from keras_genzoo import measures


def explained(model, test):
    """The share of the test images' variance that reconstructions explain."""
    error = model.run_endpoint("error", test.images)["squared_error"].mean()
    variance = test.images.var(axis=0).sum()
    return [test.row("explained_variance", 1 - error / variance, "", "1 - squared error / variance over the images")]


MEASURES = [explained, measures.reconstruction]
