//! Both layouts against the definition of the mapping, and what is refused.

use ndarray::{Array2, Array3, ArrayD};

use super::*;
use crate::archive::Dtype;
use crate::config::Settings;
use crate::model::init::{self, Scheme};

fn network(toml: &str) -> Network {
    let settings = Settings::from_toml(toml, Path::new("test")).unwrap();
    let small = "modulus = 5\nd_model = 6\nheads = 2\nd_mlp = 4";
    let settings = settings.or(Settings::from_toml(small, Path::new("test")).unwrap());
    Network::new(&settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap())
}

fn drawn(net: &Network) -> Params<f64> {
    let Network::Transformer(net) = net else { panic!("a transformer") };
    let mut params = init::random::<f64>(net, Scheme::Paper, 3);
    params.vector_mut(names::B_IN).fill(0.25);
    params.vector_mut(names::B_OUT).fill(-0.5);
    params
}

fn tensor(name: &str, values: ArrayD<f64>) -> Tensor {
    let (name, shape) = (name.to_owned(), values.shape().to_vec());
    Tensor { name, dtype: Dtype::F64, shape, values }
}

fn published(params: &Params<f64>) -> Vec<Tensor> {
    let tensors = params.iter().map(|(slot, values)| {
        tensor(&slot.name, ArrayD::from_shape_vec(slot.shape.clone(), values.to_vec()).unwrap())
    });
    tensors.collect()
}

/// Entry by entry, as the table in the module says.
fn lens(params: &Params<f64>) -> Vec<Tensor> {
    let mut tensors = published(params);
    for found in &mut tensors {
        let name = found.name.clone();
        let theirs = match name.as_str() {
            names::W_E | names::W_IN | names::W_OUT => {
                let ours = params.matrix(&name);
                let (rows, columns) = ours.dim();
                Array2::from_shape_fn((columns, rows), |(i, j)| ours[[j, i]]).into_dyn()
            }
            names::W_Q | names::W_K | names::W_V => {
                let ours = params.cube(&name);
                Array3::from_shape_fn((2, 6, 3), |(h, j, i)| ours[[h, i, j]]).into_dyn()
            }
            names::W_O => {
                let ours = params.matrix(&name);
                Array3::from_shape_fn((2, 3, 6), |(h, i, j)| ours[[j, 3 * h + i]]).into_dyn()
            }
            _ => continue,
        };
        *found = tensor(&name, theirs);
    }
    for (name, shape) in
        [("b_Q", vec![2, 3]), ("b_K", vec![2, 3]), ("b_V", vec![2, 3]), ("b_O", vec![6])]
    {
        tensors.push(tensor(&format!("blocks.0.attn.{name}"), ArrayD::zeros(shape)));
    }
    let classes = params.matrix(names::W_U).ncols();
    tensors.push(tensor("unembed.b_U", ArrayD::zeros(vec![classes])));
    tensors.push(tensor("blocks.0.attn.mask", ArrayD::ones(vec![3, 3])));
    tensors.push(tensor("blocks.0.attn.IGNORE", ArrayD::from_elem(vec![], f64::NEG_INFINITY)));
    tensors.reverse();
    tensors
}

#[test]
fn both_layouts_give_the_same_weights() {
    for toml in ["", "outputs = 'residues'"] {
        let net = network(toml);
        let params = drawn(&net);
        assert_eq!(FileLayout::of(&published(&params)), FileLayout::Published);
        assert_eq!(FileLayout::of(&lens(&params)), FileLayout::TransformerLens);
        assert_eq!(from_tensors::<f64>(&published(&params), &net).unwrap(), params);
        assert_eq!(from_tensors::<f64>(&lens(&params), &net).unwrap(), params);
        assert_eq!(from_tensors::<f32>(&lens(&params), &net).unwrap(), params.cast::<f32>());
    }
}

/// Each misfit is told by name and shapes; nothing that is almost right is taken.
#[test]
fn misfits_are_named() {
    let net = network("");
    let params = drawn(&net);
    let refused = |tensors: &[Tensor], net: &Network| {
        from_tensors::<f64>(tensors, net).unwrap_err().join("; ")
    };
    let mut tensors = lens(&params);
    tensors.retain(|tensor| tensor.name != names::W_V);
    assert_eq!(refused(&tensors, &net), "blocks.0.attn.W_V [2, 6, 3] is missing");

    // The file of 5 residues against a network of 7, and one of p outputs against p + 1.
    let found = refused(&lens(&params), &network("modulus = 7"));
    assert_eq!(found, "embed.W_E is [6, 6], not [8, 6]; unembed.W_U is [6, 6], not [6, 8]");
    let residues = network("outputs = 'residues'");
    assert_eq!(refused(&published(&params), &residues), "unembed.W_U is [6, 6], not [6, 5]");

    let mut tensors = lens(&params);
    for tensor in &mut tensors {
        if tensor.name == "blocks.0.attn.b_V" {
            tensor.values[[1, 2]] = 1e-30;
        }
    }
    let expected = "blocks.0.attn.b_V is not zero, and the network has no such bias";
    assert_eq!(refused(&tensors, &net), expected);

    let mut tensors = published(&params);
    tensors.push(tensor("blocks.1.mlp.b_in", ArrayD::zeros(vec![4])));
    assert_eq!(refused(&tensors, &net), "\"blocks.1.mlp.b_in\" [4] is none of it");
}

#[test]
fn an_mlp_has_the_published_layout_only() {
    let net = Network::new(
        &Settings::from_toml("architecture = 'mlp'\nmodulus = 5\nd_mlp = 4", Path::new("test"))
            .unwrap()
            .or(Settings::preset("nanda2023").unwrap())
            .resolve()
            .unwrap(),
    );
    let Network::Mlp(mlp) = &net else { panic!("an mlp") };
    let params = init::random_mlp::<f64>(mlp, 0);
    assert_eq!(from_tensors::<f64>(&published(&params), &net).unwrap(), params);
    let transformer = drawn(&network(""));
    let misfits = from_tensors::<f64>(&lens(&transformer), &net).unwrap_err();
    assert_eq!(misfits[0], "mlp.W_in [4, 10] is missing");
    assert!(misfits.iter().any(|misfit| misfit == "\"embed.W_E\" [6, 6] is none of it"));
}
