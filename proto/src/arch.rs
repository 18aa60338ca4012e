//! `Arch`: every architectural choice of a decoder as an enum or a number, read from config.json by `families`. No torch: the
//! coordinator names layers and predicts memory with it, the worker builds its one decoder from it.

use std::fmt;

/// One decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Arch {
    /// The `model_type`: for messages and tables, never for decisions.
    pub family: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder blocks.
    pub blocks: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width inside the MLP.
    pub intermediate: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// `max_position_embeddings`.
    pub max_positions: usize,
    /// The normalisation of every block and of the end.
    pub norm: Norm,
    /// How attention and MLP are put together.
    pub layout: BlockLayout,
    /// Attention's projections.
    pub attention: Attention,
    /// The MLP.
    pub mlp: Mlp,
    /// Rotary position embedding.
    pub rope: Rope,
    /// A token sees itself and the `window - 1` tokens before it; `None` sees all before.
    pub sliding_window: Option<usize>,
    /// The LM head is the embedding.
    pub tied_embeddings: bool,
    /// The LM head has a bias.
    pub head_bias: bool,
    /// The checkpoint's tensor names.
    pub names: Names,
}

/// A normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// Mean and variance, with weight and bias.
    Layer {
        /// Added to the variance.
        eps: f64,
    },
    /// Root mean square, with weight only.
    Rms {
        /// Added to the mean square.
        eps: f64,
    },
}

/// How a block is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockLayout {
    /// x + attention(norm1 x), then + mlp(norm2 of that).
    Sequential,
    /// x + attention(n) + mlp(n) with one n = norm1 x.
    Parallel,
}

/// Attention's projections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// One linear for q, k and v in this order, or three.
    pub fused_qkv: bool,
    /// q, k and v have biases.
    pub qkv_bias: bool,
    /// The output projection has a bias.
    pub out_bias: bool,
    /// Layer norm over each head of q and k, before rotation.
    pub qk_norm: Option<f64>,
}

/// The MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mlp {
    /// Its shape.
    pub kind: MlpKind,
    /// Its activation.
    pub activation: Activation,
    /// Its linears have biases.
    pub bias: bool,
}

/// The MLP's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlpKind {
    /// down(act(up x)).
    Plain,
    /// down(act(gate x) · up x).
    Gated,
    /// The same with gate and up in one linear, gate first.
    GatedFused,
}

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(x).
    Silu,
    /// GELU by erf.
    Gelu,
    /// GELU by tanh (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// Rotary position embedding: the first `dim` of each head are rotated, halves paired (GPT-NeoX style).
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Rotated numbers of each head.
    pub dim: usize,
    /// Changes of the frequencies for long contexts.
    pub scaling: RopeScaling,
}

/// Changes of rope's frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// All frequencies divided.
    Linear {
        /// By this.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, smooth between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original / low` are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original / high` are kept.
        high_freq_factor: f64,
        /// `original_max_position_embeddings`.
        original: usize,
    },
    /// Phi-3's longrope (once "su"): one list of divisors up to `original` positions, another beyond.
    LongRope {
        /// Divisors of sequences up to `original`, one a frequency.
        short: Vec<f64>,
        /// Divisors of longer sequences.
        long: Vec<f64>,
        /// `original_max_position_embeddings`.
        original: usize,
        /// Multiplies cos and sin.
        attention_factor: f64,
    },
}

/// A linear layer of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Its name without `.weight`, as Hugging Face has it: `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Output features: rows of the weight.
    pub out: usize,
    /// Input features: columns of the weight.
    pub inp: usize,
    /// Has a bias.
    pub bias: bool,
    /// What it does in its block.
    pub role: LinearRole,
}

/// What a linear does in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LinearRole {
    Qkv,
    Q,
    K,
    V,
    Out,
    GateUp,
    Gate,
    Up,
    Down,
}

/// Where a family keeps its tensors. `{}` stands for the block's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Embedding, with `.weight`.
    pub embedding: &'static str,
    /// Prefix of block i: `model.layers.{}`.
    pub block: &'static str,
    /// Under the block: the norm before attention.
    pub norm1: &'static str,
    /// Under the block: the norm before the MLP; `None` in parallel blocks.
    pub norm2: Option<&'static str>,
    /// Under the block: linears by role.
    pub linears: &'static [(LinearRole, &'static str)],
    /// Under the block: norms of q and k heads, if any.
    pub qk_norms: Option<(&'static str, &'static str)>,
    /// The last norm.
    pub final_norm: &'static str,
    /// The LM head, with `.weight`.
    pub head: &'static str,
}

/// A tensor that a checkpoint must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Full name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
}

impl Arch {
    /// Linears of block `i`, all of them prunable, in the order of `names.linears`.
    pub fn linears(&self, i: usize) -> Vec<Linear> {
        let prefix = self.names.block.replace("{}", &i.to_string());
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let (hidden, inner) = (self.hidden, self.intermediate);
        let (a, m) = (&self.attention, &self.mlp);
        self.names
            .linears
            .iter()
            .map(|(role, name)| {
                let (out, inp, bias) = match role {
                    LinearRole::Qkv => (q + 2 * kv, hidden, a.qkv_bias),
                    LinearRole::Q => (q, hidden, a.qkv_bias),
                    LinearRole::K | LinearRole::V => (kv, hidden, a.qkv_bias),
                    LinearRole::Out => (hidden, q, a.out_bias),
                    LinearRole::GateUp => (2 * inner, hidden, m.bias),
                    LinearRole::Gate | LinearRole::Up => (inner, hidden, m.bias),
                    LinearRole::Down => (hidden, inner, m.bias),
                };
                Linear { name: format!("{prefix}.{name}"), out, inp, bias, role: *role }
            })
            .collect()
    }

    /// Every tensor that a checkpoint must hold, with its shape.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut specs = Vec::new();
        let mut add = |name: String, shape: Vec<usize>| specs.push(TensorSpec { name, shape });
        let has_bias = matches!(self.norm, Norm::Layer { .. });
        add(self.names.embedding.to_owned(), vec![self.vocab, self.hidden]);
        let norms: Vec<&str> = std::iter::once(self.names.norm1).chain(self.names.norm2).collect();
        for i in 0..self.blocks {
            let prefix = self.names.block.replace("{}", &i.to_string());
            for norm in &norms {
                add(format!("{prefix}.{norm}.weight"), vec![self.hidden]);
                if has_bias {
                    add(format!("{prefix}.{norm}.bias"), vec![self.hidden]);
                }
            }
            if let (Some(_), Some((q, k))) = (self.attention.qk_norm, self.names.qk_norms) {
                for name in [q, k] {
                    add(format!("{prefix}.{name}.weight"), vec![self.head_dim]);
                    add(format!("{prefix}.{name}.bias"), vec![self.head_dim]);
                }
            }
            for linear in self.linears(i) {
                add(format!("{}.weight", linear.name), vec![linear.out, linear.inp]);
                if linear.bias {
                    add(format!("{}.bias", linear.name), vec![linear.out]);
                }
            }
        }
        add(format!("{}.weight", self.names.final_norm), vec![self.hidden]);
        if has_bias {
            add(format!("{}.bias", self.names.final_norm), vec![self.hidden]);
        }
        if !self.tied_embeddings {
            add(self.names.head.to_owned(), vec![self.vocab, self.hidden]);
        }
        if self.head_bias {
            add(self.names.head.replace(".weight", ".bias"), vec![self.vocab]);
        }
        specs
    }

    /// All parameters; the largest number if there are more.
    pub fn parameters(&self) -> u64 {
        let of = |t: &TensorSpec| t.shape.iter().fold(1u64, |n, size| n.saturating_mul(*size as u64));
        self.tensors().iter().map(of).fold(0, u64::saturating_add)
    }

    /// Weights in prunable linears; the largest number if there are more.
    pub fn prunable(&self) -> u64 {
        let block: u64 = self.linears(0).iter().map(|l| (l.out * l.inp) as u64).sum();
        block.saturating_mul(self.blocks as u64)
    }

    /// The position from which rope's frequencies depend on the sequence's length.
    pub fn rope_switch(&self) -> Option<usize> {
        match &self.rope.scaling {
            RopeScaling::LongRope { original, .. } => Some(*original),
            _ => None,
        }
    }
}

/// A config.json that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConfigError {
    /// Not JSON.
    #[error("config.json: {why}")]
    Json {
        /// The parser's message, with line and column.
        why: String,
    },
    /// A family that the decoder does not know.
    #[error("config.json: model_type: found {found}, supported are {supported}")]
    Family {
        /// What was found.
        found: String,
        /// All that are supported.
        supported: String,
    },
    /// A field is missing, of the wrong type or absurd.
    #[error("config.json: {field}: found {found}, expected {expected}")]
    Field {
        /// Dotted path.
        field: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} with {} blocks, hidden {}, vocabulary {}",
            self.family, self.blocks, self.hidden, self.vocab
        )
    }
}
