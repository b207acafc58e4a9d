from keras_genzoo.models import Family

CODER = Family(
    model="toy_zoo.model:Coder",
    measures="toy_zoo.measures:MEASURES",
    contract="toy_zoo.contract:contract",
    drawings={"reconstructions": "keras_genzoo.drawings:reconstructions"},
)
